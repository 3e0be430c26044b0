/* load.c: a closed-loop load generator: every connection sends its next request when it has the whole answer to the last.
 *
 *   load --port P --body FILE [--connections N] [--seconds S] [--warm S] [--stream CHUNKS] [--spread S] [--pid PID]...
 *   load --port P --body FILE --connections N --hold
 *
 * The first form runs for --warm seconds, then measures for --seconds and prints one line of JSON: requests, chunks,
 * percentiles, and the CPU time that the processes --pid used in exactly that window, read from their CPU clocks here so
 * that nobody has to be woken up in time. --stream says that answers are server-sent events of so many stamped chunks; an
 * answer with another number counts as wrong. --spread starts the connections over so many seconds instead of all at once.
 *
 * The second form opens N streams, waits for the first chunk on each, prints {"open": N} and holds them until stdin ends.
 *
 * One thread, epoll, 127.0.0.1, the same request every time. */
#define _GNU_SOURCE
#include <getopt.h>
#include <signal.h>
#include <sys/epoll.h>

#include "wire.h"

enum { HEAD_MAX = 16 * 1024, READ_SIZE = 256 * 1024, PIDS_MAX = 64, FAILURES_MAX = 200, OPENING_MAX = 64, EVENTS = 256 };
enum part { HEAD, LENGTH_BODY, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER };

struct connection {
    int fd;
    enum part part;
    char head[HEAD_MAX];
    size_t head_used;
    uint64_t left;      /* bytes still to come of the body or of this chunk */
    bool last, closing; /* in the last chunk; the server will close after this answer */
    bool refused;       /* this answer is an error, and says so */
    uint64_t sent_at, first_at;
    int mark; /* how much of a stamp "T123" has been read: 0 nothing, 1 the quote, 2 the T or digits */
    uint64_t stamp;
    long stamps;
};

/* Every sample is kept and sorted at the end: exact percentiles from a bounded array. Past the bound only `seen` grows. */
struct samples {
    uint32_t *tenths; /* of a microsecond */
    size_t used;
    uint64_t seen;
};
enum { SAMPLES_MAX = 4 << 20 };

static struct samples latencies, first_chunks, delays;
static uint64_t sent, requests, chunks, received, failed, refused, wrong;
static long expected = -1;
static bool measuring, holding;
static volatile sig_atomic_t stopped;
static int poller, port;
static char *request;
static size_t request_length;
static long opened;

static void keep(struct samples *s, uint64_t ns) {
    if (!s->tenths) s->tenths = grow(NULL, SAMPLES_MAX * sizeof *s->tenths);
    s->seen++;
    if (s->used < SAMPLES_MAX) s->tenths[s->used++] = ns / 100 > UINT32_MAX ? UINT32_MAX : (uint32_t)(ns / 100);
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void print_percentiles(const char *name, struct samples *s) {
    if (!s->used) {
        printf("\"%s\": null, ", name);
        return;
    }
    qsort(s->tenths, s->used, sizeof *s->tenths, ascending);
    printf("\"%s\": {\"p50\": %.1f, \"p95\": %.1f, \"p99\": %.1f, \"samples\": %zu}, ", name, s->tenths[s->used / 2] / 10.0,
           s->tenths[s->used * 95 / 100] / 10.0, s->tenths[s->used * 99 / 100] / 10.0, s->used);
}

/* ---- one connection ---- */

static bool ask(struct connection *c) {
    c->part = HEAD;
    c->head_used = 0;
    c->last = c->closing = false;
    c->first_at = 0;
    c->mark = 0;
    c->stamps = 0;
    c->sent_at = now_ns();
    sent++;
    /* 2 KB always fit into an idle connection's send buffer. For 100 KB the blocking send may wait until the proxy reads, which
     * it does whatever we do: what it passes on goes to another process. */
    return send(c->fd, request, request_length, MSG_NOSIGNAL) == (ssize_t)request_length;
}

static void dial(struct connection *c) {
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("opening a socket");
    no_delay(c->fd);
    struct sockaddr_in address = loopback(port);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address)) die("connecting");
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e);
}

static bool redial(struct connection *c) {
    close(c->fd);
    dial(c);
    return ask(c);
}

/* Finds the stamps "T<ns>" in a stream, however it was cut into reads. */
static void read_stamps(struct connection *c, const char *bytes, size_t length, uint64_t now) {
    for (const char *end = bytes + length; bytes < end; bytes++) {
        if (c->mark == 0) {
            bytes = memchr(bytes, '"', (size_t)(end - bytes));
            if (!bytes) return;
            c->mark = 1;
        } else if (c->mark == 1) {
            c->mark = *bytes == 'T' ? 2 : *bytes == '"' ? 1 : 0;
            c->stamp = 0;
        } else if (*bytes >= '0' && *bytes <= '9') {
            c->stamp = c->stamp * 10 + (uint64_t)(*bytes - '0');
        } else {
            c->mark = *bytes == '"' ? 1 : 0;
            if (*bytes != '"' || c->stamp == 0) continue;
            if (c->stamps++ == 0) {
                c->first_at = now;
                opened++;
            }
            if (!measuring) continue;
            chunks++;
            keep(&delays, now > c->stamp ? now - c->stamp : 0);
        }
    }
}

static bool finish(struct connection *c, uint64_t now) {
    if (measuring) {
        requests++;
        keep(&latencies, now - c->sent_at);
        if (c->first_at) keep(&first_chunks, c->first_at - c->sent_at);
        if (expected >= 0 && c->stamps != expected && !c->refused) wrong++;
    }
    return c->closing ? redial(c) : ask(c);
}

static void read_head(struct connection *c, const char *end) {
    const char *length = header(c->head, end, "content-length");
    c->refused = strncmp(c->head, "HTTP/1.1 200", 12) != 0;
    if (c->refused) {
        if (refused++ == 0) fprintf(stderr, "not 200: %.*s\n", 300, c->head);
    }
    c->closing = header_is(c->head, end, "connection", "close");
    c->part = header_is(c->head, end, "transfer-encoding", "chunked") ? CHUNK_SIZE : LENGTH_BODY;
    c->left = length ? strtoull(length, NULL, 10) : 0;
    if (c->part == CHUNK_SIZE) c->left = 0;
}

/* Takes the bytes of one read through the answer's parts; false when the answer makes no sense. */
static bool feed(struct connection *c, const char *bytes, size_t length, uint64_t now) {
    if (measuring) received += length;
    while (length > 0) {
        size_t used = 1;
        switch (c->part) {
        case HEAD: {
            size_t before = c->head_used, copied = length < HEAD_MAX - 1 - before ? length : HEAD_MAX - 1 - before;
            memcpy(c->head + before, bytes, copied);
            c->head_used += copied;
            c->head[c->head_used] = 0;
            char *end = memmem(c->head, c->head_used, "\r\n\r\n", 4);
            if (!end && c->head_used == HEAD_MAX - 1) return false;
            if (!end) return true;
            used = (size_t)(end + 4 - c->head) - before;
            read_head(c, end + 2);
            if (c->part == LENGTH_BODY && c->left == 0) return used == length && finish(c, now);
            break;
        }
        case LENGTH_BODY:
        case CHUNK_DATA:
            used = length < c->left ? length : (size_t)c->left;
            if (expected >= 0 || holding) read_stamps(c, bytes, used, now);
            c->left -= used;
            if (c->left > 0) break;
            if (c->part == LENGTH_BODY) return used == length && finish(c, now);
            c->part = CHUNK_END;
            break;
        case CHUNK_SIZE:
            if (*bytes == '\n') {
                c->last = c->left == 0;
                c->part = c->last ? TRAILER : CHUNK_DATA;
                c->head_used = 0; /* counts the bytes of a trailer line from here on */
            } else if (*bytes >= '0' && *bytes <= '9') {
                c->left = c->left * 16 + (uint64_t)(*bytes - '0');
            } else if ((*bytes | 32) >= 'a' && (*bytes | 32) <= 'f') {
                c->left = c->left * 16 + (uint64_t)((*bytes | 32) - 'a') + 10;
            } else if (*bytes != '\r') {
                return false;
            }
            break;
        case CHUNK_END:
            if (*bytes == '\n') c->part = CHUNK_SIZE;
            break;
        case TRAILER:
            if (*bytes == '\n' && c->head_used == 0) return length == 1 && finish(c, now);
            c->head_used = *bytes == '\n' ? 0 : *bytes == '\r' ? c->head_used : c->head_used + 1;
            break;
        }
        bytes += used;
        length -= used;
    }
    return true;
}

static bool take(struct connection *c) {
    static char buffer[READ_SIZE];
    ssize_t got = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0) return errno == EAGAIN;
    return got > 0 && feed(c, buffer, (size_t)got, now_ns());
}

/* ---- the two runs ---- */

static void poll_once(int timeout_ms) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(poller, events, EVENTS, timeout_ms);
    for (int i = 0; i < ready; i++) {
        struct connection *c = events[i].data.ptr;
        if (!c || take(c)) continue;
        if (++failed > FAILURES_MAX) {
            fprintf(stderr, "more than %d failed answers\n", FAILURES_MAX);
            exit(1);
        }
        redial(c);
    }
}

/* CPU time that a process and its finished threads have used, in nanoseconds. 0 for one that has ended. */
static uint64_t cpu_time(pid_t pid) {
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t)) return 0;
    return (uint64_t)t.tv_sec * NS_PER_SECOND + (uint64_t)t.tv_nsec;
}

static uint64_t cpu_of_all(const pid_t *pids, size_t count) {
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) sum += cpu_time(pids[i]);
    return sum;
}

static void stop(int number) {
    (void)number;
    stopped = 1;
}

static void measure(double warm, double seconds, const pid_t *pids, size_t pid_count) {
    uint64_t begin = now_ns() + (uint64_t)(warm * 1e9);
    while (now_ns() < begin) poll_once(10);
    failed = refused = 0;
    measuring = true;
    begin = now_ns();
    uint64_t cpu = cpu_of_all(pids, pid_count), until = begin + (uint64_t)(seconds * 1e9), end;
    while ((end = now_ns()) < until && !stopped) poll_once(10);
    cpu = cpu_of_all(pids, pid_count) - cpu;
    measuring = false;
    printf("{\"sent\": %llu, \"requests\": %llu, \"chunks\": %llu, \"bytes\": %llu, \"failed\": %llu, \"not_200\": %llu, ",
           (unsigned long long)sent, (unsigned long long)requests, (unsigned long long)chunks, (unsigned long long)received,
           (unsigned long long)failed, (unsigned long long)refused);
    printf("\"wrong\": %llu, ", (unsigned long long)wrong);
    print_percentiles("latency_us", &latencies);
    print_percentiles("first_chunk_us", &first_chunks);
    print_percentiles("chunk_delay_us", &delays);
    printf("\"cpu_ns\": %llu, \"seconds\": %.6f}\n", (unsigned long long)cpu, (double)(end - begin) / 1e9);
}

static void hold(struct connection *all, int count, double limit) {
    uint64_t until = now_ns() + (uint64_t)(limit * 1e9);
    int dialled = 0;
    while (opened < count && now_ns() < until) {
        for (; dialled < count && dialled - opened < OPENING_MAX; dialled++) {
            dial(&all[dialled]);
            ask(&all[dialled]);
        }
        poll_once(10);
    }
    printf("{\"open\": %ld, \"failed\": %llu, \"not_200\": %llu}\n", opened, (unsigned long long)failed, (unsigned long long)refused);
    fflush(stdout);
    char end;
    while (read(STDIN_FILENO, &end, 1) > 0) continue;
}

static void make_request(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) die(path);
    static char body[1 << 20];
    size_t length = fread(body, 1, sizeof body, file);
    fclose(file);
    request = grow(NULL, length + 512);
    int head = sprintf(request, "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: bench/1\r\nAccept: */*\r\n"
                                "Authorization: Bearer sk-bench-key-for-measuring\r\nContent-Type: application/json\r\n"
                                "Content-Length: %zu\r\n\r\n", port, length);
    memcpy(request + head, body, length);
    request_length = (size_t)head + length;
}

int main(int count, char **arguments) {
    static const struct option options[] = {{"port", 1, 0, 'p'}, {"body", 1, 0, 'b'}, {"connections", 1, 0, 'c'},
                                            {"seconds", 1, 0, 's'}, {"warm", 1, 0, 'w'}, {"stream", 1, 0, 'e'},
                                            {"pid", 1, 0, 'i'}, {"spread", 1, 0, 'd'}, {"hold", 0, 0, 'h'}, {0, 0, 0, 0}};
    int connections = 1;
    double seconds = 3, warm = 0.5, spread = 0;
    pid_t pids[PIDS_MAX];
    size_t pid_count = 0;
    for (int option; (option = getopt_long(count, arguments, "", options, NULL)) != -1;) {
        if (option == 'p') port = atoi(optarg);
        else if (option == 'b') make_request(optarg); /* after --port: the Host header names it */
        else if (option == 'c') connections = atoi(optarg);
        else if (option == 's') seconds = atof(optarg);
        else if (option == 'w') warm = atof(optarg);
        else if (option == 'd') spread = atof(optarg);
        else if (option == 'e') expected = atol(optarg);
        else if (option == 'i' && pid_count < PIDS_MAX) pids[pid_count++] = atoi(optarg);
        else if (option == 'h') holding = true;
        else return 2;
    }
    if (!request || connections < 1) return fprintf(stderr, "usage: load --port P --body FILE ..., see the top of load.c\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, stop); /* the window ends early, and is told as usual */
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct connection *all = calloc((size_t)connections, sizeof *all);
    if (!all) die("allocating connections");
    if (holding) {
        hold(all, connections, seconds);
        return 0;
    }
    uint64_t begin = now_ns();
    for (int i = 0; i < connections; i++) {
        while (now_ns() < begin + (uint64_t)(spread * 1e9 * i / connections)) poll_once(1);
        dial(&all[i]);
        ask(&all[i]);
    }
    measure(warm, seconds, pids, pid_count);
    return 0;
}
