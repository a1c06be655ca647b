/* The floor of private messages: each goes back to its sender, as the acknowledgement, and to its partner.
 *
 * usage: pairs CLIENTS [DATABASE]
 * Listens on a free port of 127.0.0.1 and prints the port. The first CLIENTS connections are the clients; the
 * partner of an even one is the next one. Whatever one recv(2) returns is one message. With DATABASE, which is
 * made, all messages of one epoll_wait(2) are committed in one transaction before the first is sent on: a row
 * each, in a write-ahead log with pages of 1 KiB that is written at commit and synced at checkpoints, as
 * Greenroom's is by default. It parses nothing, and ends when the first client does.
 */
#include "floor.h"

#include <errno.h>
#include <sys/epoll.h>
#include <time.h>
#ifdef WITH_SQLITE
#include <sqlite3.h>
#endif

enum { EVENTS = 256, MESSAGE = 4096 };

static struct message {
    int client;
    ssize_t size;
    char text[MESSAGE];
} batch[EVENTS];

#ifdef WITH_SQLITE
static sqlite3 *database;
static sqlite3_stmt *begin, *insert, *commit;

static void check(int code, int wanted)
{
    if (code != wanted) {
        fprintf(stderr, "SQLite: %s\n", sqlite3_errmsg(database));
        exit(1);
    }
}

static sqlite3_stmt *prepare(const char *sql)
{
    sqlite3_stmt *statement;
    check(sqlite3_prepare_v3(database, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL), SQLITE_OK);
    return statement;
}

static void open_database(const char *path)
{
    check(sqlite3_open(path, &database), SQLITE_OK);
    check(sqlite3_exec(database,
                       "PRAGMA page_size = 1024; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                       "CREATE TABLE log (id INTEGER PRIMARY KEY, room INTEGER NOT NULL, seq INTEGER NOT NULL,"
                       " text TEXT NOT NULL, at REAL NOT NULL)",
                       NULL, NULL, NULL),
          SQLITE_OK);
    begin = prepare("BEGIN IMMEDIATE");
    insert = prepare("INSERT INTO log (room, seq, text, at) VALUES (?, ?, ?, ?)");
    commit = prepare("COMMIT");
}

static void step(sqlite3_stmt *statement)
{
    check(sqlite3_step(statement), SQLITE_DONE);
    check(sqlite3_reset(statement), SQLITE_OK);
}

static void store(int count)
{
    static sqlite3_int64 seq;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    step(begin);
    for (int i = 0; i < count; i++) {
        sqlite3_bind_int(insert, 1, batch[i].client / 2);
        sqlite3_bind_int64(insert, 2, ++seq);
        sqlite3_bind_text(insert, 3, batch[i].text, (int)batch[i].size, SQLITE_STATIC);
        sqlite3_bind_double(insert, 4, (double)now.tv_sec + (double)now.tv_nsec / 1e9);
        step(insert);
    }
    step(commit);
}
#endif

static void send_whole(int connection, const struct message *message)
{
    if (send(connection, message->text, (size_t)message->size, MSG_DONTWAIT | MSG_NOSIGNAL) != message->size)
        fail("send");
}

int main(int argc, char **argv)
{
    int clients = argc >= 2 ? atoi(argv[1]) : 0;
    if (clients < 2 || clients % 2 || argc > 3) {
        fprintf(stderr, "usage: pairs CLIENTS [DATABASE]\n");
        return 2;
    }
#ifdef WITH_SQLITE
    if (argc == 3)
        open_database(argv[2]);
#endif
    int listener = listen_on_loopback();

    int *client = calloc((size_t)clients, sizeof *client);
    int poll = epoll_create1(0);
    if (client == NULL || poll < 0)
        fail("start");
    for (int i = 0; i < clients; i++) {
        struct epoll_event wanted = {.events = EPOLLIN, .data.u32 = (unsigned)i};
        client[i] = accept_one(listener);
        if (epoll_ctl(poll, EPOLL_CTL_ADD, client[i], &wanted) < 0)
            fail("epoll_ctl");
    }

    for (;;) {
        struct epoll_event ready[EVENTS];
        int count = epoll_wait(poll, ready, EVENTS, -1);
        if (count < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            struct message *message = &batch[i];
            message->client = (int)ready[i].data.u32;
            message->size = recv(client[message->client], message->text, MESSAGE, 0);
            if (message->size <= 0)
                return message->size < 0;
        }
#ifdef WITH_SQLITE
        if (database != NULL && count > 0)
            store(count);
#endif
        for (int i = 0; i < count; i++) {
            send_whole(client[batch[i].client], &batch[i]);
            send_whole(client[batch[i].client ^ 1], &batch[i]);
        }
    }
}
