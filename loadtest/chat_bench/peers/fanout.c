/* The floor of any fan-out: read what the publisher sent, send it once to each receiver.
 *
 * usage: fanout RECEIVERS
 * Listens on a free port of 127.0.0.1 and prints the port. The first RECEIVERS connections are receivers, the
 * next one is the publisher. It keeps no state, parses nothing and stores nothing; what a server spends above
 * this is its own. It ends when the publisher does, or when a receiver takes less than it was given.
 */
#include "floor.h"

enum { BATCH = 256 * 1024 };

static char batch[BATCH];

int main(int argc, char **argv)
{
    int receivers = argc == 2 ? atoi(argv[1]) : 0;
    if (receivers < 1) {
        fprintf(stderr, "usage: fanout RECEIVERS\n");
        return 2;
    }
    int listener = listen_on_loopback();

    int *receiver = calloc((size_t)receivers, sizeof *receiver);
    if (receiver == NULL)
        fail("calloc");
    for (int i = 0; i < receivers; i++)
        receiver[i] = accept_one(listener);
    int publisher = accept_one(listener);

    ssize_t got;
    while ((got = recv(publisher, batch, sizeof batch, 0)) > 0)
        for (int i = 0; i < receivers; i++)
            if (send(receiver[i], batch, (size_t)got, MSG_DONTWAIT | MSG_NOSIGNAL) != got)
                fail("send");
    return got < 0;
}
