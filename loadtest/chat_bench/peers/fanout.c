/* The floor of any fan-out: read what the publisher sent, send it once to each receiver.
 *
 * usage: fanout RECEIVERS
 * Listens on a free port of 127.0.0.1 and prints the port. The first RECEIVERS connections are receivers, the
 * next one is the publisher. It keeps no state, parses nothing and stores nothing; what a server spends above
 * this is its own. It ends when the publisher does, or when a receiver takes less than it was given.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 4096, BATCH = 256 * 1024 };

static char batch[BATCH];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int accept_one(int listener)
{
    int one = 1;
    int connection = accept(listener, NULL, NULL);
    if (connection < 0)
        fail("accept");
    if (setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0)
        fail("TCP_NODELAY");
    return connection;
}

int main(int argc, char **argv)
{
    int receivers = argc == 2 ? atoi(argv[1]) : 0;
    if (receivers < 1) {
        fprintf(stderr, "usage: fanout RECEIVERS\n");
        return 2;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, BACKLOG) < 0
        || getsockname(listener, (struct sockaddr *)&address, &size) < 0)
        fail("listen");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);

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
