/* engine.c: an engine with OpenAI's wire format that computes nothing, for measuring what stands in front of it.
 * Under /api/chat and /api/generate it answers in Ollama's, for measuring client libraries beside each other.
 *
 *   engine PORT
 *
 * It answers POST with a chat completion of about 1 KB, or with server-sent events of about 190 bytes when the body asks
 * to stream. What else it should do stands in the prompt, because that is the one place every proxy passes on untouched:
 *
 *   bench(chunks=128,gap=5000)   128 events, 5,000 µs apart (gap=0: as fast as the socket takes them, one write each)
 *   bench(hold=prefill)          not one byte, ever: an engine that reads a long prompt
 *   bench(hold=stall)            the head and one event, then silence
 *   bench(...,trace=1)           prints "start ID NS", and "abort ID NS" if the client leaves before the end
 *
 * NS is CLOCK_MONOTONIC in nanoseconds; each event carries the time it was written as its content ("T123…"), so the
 * reader on the same machine knows how long it travelled. One thread, epoll, keep-alive, no TLS. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "wire.h"

enum { READ_SIZE = 64 * 1024, REQUEST_MAX = 8 << 20, BACKLOG_MAX = 16 << 20, STREAMS_MAX = 65536, EVENTS = 256 };
enum phase { IDLE, STREAMING, SILENT };
enum wire { OPENAI, OLLAMA_CHAT, OLLAMA_GENERATE };
enum hold { HOLD_NOTHING, HOLD_PREFILL, HOLD_STALL };

struct connection {
    int fd;
    char *in; /* bytes of the request so far */
    size_t in_used, in_size;
    char *out; /* bytes the socket did not take yet */
    size_t out_sent, out_used, out_size;
    enum phase phase;
    uint64_t id; /* number of the request being answered */
    bool trace, usage;
    enum wire wire;
    long total, left; /* events of this stream, and those still to come */
    uint64_t gap, due;
    size_t slot; /* place in the heap of paced streams, or NO_SLOT */
};

static const size_t NO_SLOT = (size_t)-1;
static int poller;
static uint64_t requests;
static char reply[3][2048]; /* by wire */
static size_t reply_length[3];

/* ---- paced streams: a binary heap by due time, and one timer for the earliest ---- */

static struct connection *heap[STREAMS_MAX];
static size_t heap_used;

static void place(struct connection *c, size_t slot) {
    heap[slot] = c;
    c->slot = slot;
}

static void rise(struct connection *c) {
    size_t slot = c->slot;
    while (slot > 0 && heap[(slot - 1) / 2]->due > c->due) {
        place(heap[(slot - 1) / 2], slot);
        slot = (slot - 1) / 2;
    }
    place(c, slot);
}

static void sink(struct connection *c) {
    size_t slot = c->slot;
    for (size_t child; (child = 2 * slot + 1) < heap_used; slot = child) {
        if (child + 1 < heap_used && heap[child + 1]->due < heap[child]->due) child++;
        if (heap[child]->due >= c->due) break;
        place(heap[child], slot);
    }
    place(c, slot);
}

static void schedule(struct connection *c) {
    if (heap_used == STREAMS_MAX) {
        fprintf(stderr, "more than %d paced streams\n", STREAMS_MAX);
        exit(1);
    }
    c->slot = heap_used;
    heap[heap_used++] = c;
    rise(c);
}

static void unschedule(struct connection *c) {
    if (c->slot == NO_SLOT) return;
    struct connection *last = heap[--heap_used];
    if (last != c) {
        place(last, c->slot);
        rise(last);
        sink(last);
    }
    c->slot = NO_SLOT;
}

/* ---- writing ---- */

static void watch(struct connection *c, bool writable) {
    struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | (writable ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
}

/* Sends what the socket takes and keeps the rest; false when the connection is of no use any more. */
static bool put(struct connection *c, const char *bytes, size_t length) {
    if (c->out_used == 0) {
        ssize_t sent = send(c->fd, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return false;
        if (sent > 0) bytes += sent, length -= (size_t)sent;
        if (length == 0) return true;
        watch(c, true);
    }
    if (c->out_used + length > BACKLOG_MAX) return false;
    if (c->out_used + length > c->out_size) c->out = grow(c->out, c->out_size = 2 * (c->out_used + length));
    memcpy(c->out + c->out_used, bytes, length);
    c->out_used += length;
    return true;
}

static bool flush(struct connection *c) {
    while (c->out_sent < c->out_used) {
        ssize_t sent = send(c->fd, c->out + c->out_sent, c->out_used - c->out_sent, MSG_NOSIGNAL);
        if (sent < 0) return errno == EAGAIN;
        c->out_sent += (size_t)sent;
    }
    c->out_sent = c->out_used = 0;
    watch(c, false);
    return true;
}

/* One HTTP chunk in one write, as engines do it; `last` adds the end of the body. */
__attribute__((format(printf, 3, 4))) static bool put_chunk(struct connection *c, bool last, const char *format, ...) {
    char text[1024], frame[1100];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    int framed = snprintf(frame, sizeof frame, "%x\r\n%s\r\n%s", length, text, last ? "0\r\n\r\n" : "");
    return put(c, frame, (size_t)framed);
}

#define EVENT \
    "data: {\"id\":\"chatcmpl-%llu\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\"model\":\"mock\",\"choices\":"

#define LINE "{\"model\":\"mock\",\"created_at\":\"2026-11-21T00:00:00.000000789Z\","
#define SAYS(wire) ((wire) == OLLAMA_CHAT ? "\"message\":{\"role\":\"assistant\",\"content\":\"" : "\"response\":\"")
#define SAID(wire) ((wire) == OLLAMA_CHAT ? "\"}" : "\"")
#define COUNTS "\"done\":true,\"done_reason\":\"stop\",\"total_duration\":9000000,\"load_duration\":40000,\"prompt_eval_count\":400," \
               "\"prompt_eval_duration\":1000000,\"eval_count\":128,\"eval_duration\":8000000}"

static bool put_event(struct connection *c) {
    c->left--;
    if (c->wire)
        return put_chunk(c, false, LINE "%sT%llu%s,\"done\":false}\n", SAYS(c->wire), (unsigned long long)now_ns(), SAID(c->wire));
    return put_chunk(c, false, EVENT "[{\"index\":0,\"delta\":{\"content\":\"T%llu\"},\"finish_reason\":null}]}\n\n",
                     (unsigned long long)c->id, (unsigned long long)now_ns());
}

static bool put_end(struct connection *c) {
    unsigned long long id = c->id;
    c->phase = IDLE;
    if (c->wire) return put_chunk(c, true, LINE "%s%s," COUNTS "\n", SAYS(c->wire), SAID(c->wire));
    if (!put_chunk(c, false, EVENT "[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n", id)) return false;
    if (c->usage && !put_chunk(c, false, EVENT "[],\"usage\":{\"prompt_tokens\":400,\"completion_tokens\":%ld,"
                                               "\"total_tokens\":%ld}}\n\n", id, c->total, 400 + c->total))
        return false;
    return put_chunk(c, true, "data: [DONE]\n\n");
}

/* ---- answering ---- */

static bool contains(const char *body, const char *end, const char *text) {
    return memmem(body, (size_t)(end - body), text, strlen(text)) != NULL;
}

/* The number behind `name=` inside bench(...), or `otherwise`. */
static long setting(const char *order, const char *end, const char *name, long otherwise) {
    const char *found = order ? memmem(order, (size_t)(end - order), name, strlen(name)) : NULL;
    return found ? atol(found + strlen(name)) : otherwise;
}

static bool get(struct connection *c, const char *path) {
    const char *type = "application/json", *status = "200 OK", *body = "{}";
    if (!strncmp(path, "/v1/models ", 11))
        body = "{\"object\":\"list\",\"data\":[{\"id\":\"mock\",\"object\":\"model\",\"created\":1790000000,\"owned_by\":\"vllm\","
               "\"root\":\"mock\",\"parent\":null,\"max_model_len\":32768}]}";
    else if (!strncmp(path, "/version ", 9))
        body = "{\"version\":\"0.33.0\"}";
    else if (!strncmp(path, "/metrics ", 9))
        type = "text/plain; version=0.0.4", body = "vllm:num_requests_running{model_name=\"mock\"} 0\n"
                                                    "vllm:num_requests_waiting{model_name=\"mock\"} 0\n";
    else if (strncmp(path, "/health ", 8) && strncmp(path, "/ping ", 6))
        status = "404 Not Found";
    char answer[1024];
    int length = snprintf(answer, sizeof answer, "HTTP/1.1 %s\r\ncontent-type: %s\r\ncontent-length: %zu\r\n\r\n%s", status, type,
                          strlen(body), body);
    return put(c, answer, (size_t)length);
}

static bool wants_stream(struct connection *c, const char *body, const char *end) {
    if (c->wire) return !contains(body, end, "\"stream\":false") && !contains(body, end, "\"stream\": false");
    return contains(body, end, "\"stream\":true") || contains(body, end, "\"stream\": true");
}

static bool post(struct connection *c, const char *path, const char *body, const char *end) {
    static const char stream_head[] = "HTTP/1.1 200 OK\r\nserver: bench-engine\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
                                      "cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
    static const char line_head[] = "HTTP/1.1 200 OK\r\nserver: bench-engine\r\ncontent-type: application/x-ndjson\r\n"
                                    "transfer-encoding: chunked\r\n\r\n";
    c->wire = !strncmp(path, "/api/chat ", 10) ? OLLAMA_CHAT : !strncmp(path, "/api/generate ", 14) ? OLLAMA_GENERATE : OPENAI;
    const char *order = memmem(body, (size_t)(end - body), "bench(", 6);
    const char *order_end = order ? memchr(order, ')', (size_t)(end - order)) : NULL;
    if (!order_end) order = NULL;
    enum hold hold = !order                                      ? HOLD_NOTHING
                     : contains(order, order_end, "hold=prefill") ? HOLD_PREFILL
                     : contains(order, order_end, "hold=stall")   ? HOLD_STALL
                                                                  : HOLD_NOTHING;
    c->trace = setting(order, order_end, "trace=", 0) != 0;
    if (c->trace) printf("start %llu %llu\n", (unsigned long long)c->id, (unsigned long long)now_ns());
    if (hold == HOLD_PREFILL) return c->phase = SILENT, true;
    if (!wants_stream(c, body, end)) return put(c, reply[c->wire], reply_length[c->wire]);

    c->usage = contains(body, end, "\"include_usage\":true") || contains(body, end, "\"include_usage\": true");
    c->total = c->left = setting(order, order_end, "chunks=", 128);
    c->gap = (uint64_t)setting(order, order_end, "gap=", 0) * 1000;
    c->phase = hold == HOLD_STALL ? SILENT : STREAMING;
    if (!put(c, c->wire ? line_head : stream_head, (c->wire ? sizeof line_head : sizeof stream_head) - 1) || !put_event(c)) return false;
    if (hold == HOLD_STALL) return true;
    if (c->gap == 0) {
        while (c->left > 0)
            if (!put_event(c)) return false;
        return put_end(c);
    }
    /* A first gap of random length: streams that start together would otherwise tick together for ever, and a proxy
     * that reads 32 chunks per wake-up looks cheaper than it is. The seed is fixed, so runs repeat. */
    static uint64_t dice = 88172645463325252ull;
    dice ^= dice << 13, dice ^= dice >> 7, dice ^= dice << 17;
    c->due = now_ns() + dice % c->gap + 1;
    schedule(c);
    return true;
}

/* Answers every complete request in the buffer, one after the other. */
static bool serve(struct connection *c) {
    while (c->phase == IDLE && c->in_used > 0) {
        char *head_end = memmem(c->in, c->in_used, "\r\n\r\n", 4);
        if (!head_end) return c->in_used < READ_SIZE;
        char *body = head_end + 4, *body_end;
        size_t available = c->in_used - (size_t)(body - c->in), used;
        const char *length = header(c->in, head_end, "content-length");
        if (header_is(c->in, head_end, "transfer-encoding", "chunked")) {
            /* The chunk framing stays inside the body: we only look for words in it. */
            body_end = memmem(body, available, "0\r\n\r\n", 5);
            if (!body_end) return true;
            used = (size_t)(body_end + 5 - c->in);
        } else {
            size_t wanted = length ? strtoul(length, NULL, 10) : 0;
            if (wanted > REQUEST_MAX) return false;
            if (available < wanted) return true;
            body_end = body + wanted;
            used = (size_t)(body_end - c->in);
        }
        c->id = ++requests;
        bool good = !strncmp(c->in, "POST ", 5) ? post(c, c->in + 5, body, body_end) : !strncmp(c->in, "GET ", 4) && get(c, c->in + 4);
        if (!good) return false;
        memmove(c->in, c->in + used, c->in_used - used);
        c->in_used -= used;
    }
    return true;
}

/* ---- connections ---- */

static void leave(struct connection *c) {
    if (c->trace && c->phase != IDLE) printf("abort %llu %llu\n", (unsigned long long)c->id, (unsigned long long)now_ns());
    unschedule(c);
    close(c->fd);
    free(c->in);
    free(c->out);
    free(c);
}

static void welcome(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        no_delay(fd);
        struct connection *c = calloc(1, sizeof *c);
        if (!c) die("allocating a connection");
        c->fd = fd, c->slot = NO_SLOT;
        struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
    }
}

static bool take(struct connection *c) {
    if (c->in_used + READ_SIZE / 4 > c->in_size) c->in = grow(c->in, c->in_size = 2 * c->in_used + READ_SIZE);
    if (c->in_used > REQUEST_MAX) return false;
    ssize_t got = recv(c->fd, c->in + c->in_used, c->in_size - c->in_used, 0);
    if (got < 0) return errno == EAGAIN;
    c->in_used += (size_t)got;
    return got > 0 && serve(c);
}

/* Sends every event that is due. A connection that fails here is shut down, not freed: it may stand later in the same
 * batch of events, which will then find it gone. */
static void tick(void) {
    uint64_t now = now_ns();
    while (heap_used > 0 && heap[0]->due <= now) {
        struct connection *c = heap[0];
        bool good;
        if (c->left > 0) {
            good = put_event(c);
            c->due += c->gap;
            if (c->due <= now) c->due = now + 1; /* we are late: no burst to catch up */
            sink(c);
        } else {
            unschedule(c);
            good = put_end(c) && serve(c);
        }
        if (!good) unschedule(c), shutdown(c->fd, SHUT_RDWR);
    }
}

static void arm(int timer) {
    static uint64_t armed;
    if (heap_used == 0 || heap[0]->due == armed) return;
    armed = heap[0]->due;
    struct itimerspec at = {.it_value = {(time_t)(armed / NS_PER_SECOND), (long)(armed % NS_PER_SECOND)}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static void make_reply(enum wire wire) {
    char body[1400];
    int n = wire ? snprintf(body, sizeof body, LINE "%s", SAYS(wire))
                 : snprintf(body, sizeof body, "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1790000000,"
                                               "\"model\":\"mock\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"");
    while (n < 880) n += snprintf(body + n, sizeof body - (size_t)n, "words of an answer, ");
    if (wire) n += snprintf(body + n, sizeof body - (size_t)n, "%s," COUNTS, SAID(wire));
    else n += snprintf(body + n, sizeof body - (size_t)n, "\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
                                                          "\"usage\":{\"prompt_tokens\":400,\"completion_tokens\":128,\"total_tokens\":528}}");
    reply_length[wire] = (size_t)snprintf(reply[wire], sizeof reply[wire], "HTTP/1.1 200 OK\r\nserver: bench-engine\r\n"
                                          "content-type: application/json\r\ncontent-length: %d\r\n\r\n%s", n, body);
}

int main(int count, char **arguments) {
    if (count != 2) return fprintf(stderr, "usage: engine PORT\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0); /* a traced line is read by someone who waits for it */
    for (enum wire wire = OPENAI; wire <= OLLAMA_GENERATE; wire++) make_reply(wire);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = loopback(atoi(arguments[1]));
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) die("listening");
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    poller = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.ptr = &listener});
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &(struct epoll_event){.events = EPOLLIN, .data.ptr = &timer});
    struct epoll_event events[EVENTS];
    for (;;) {
        arm(timer);
        int ready = epoll_wait(poller, events, EVENTS, -1);
        if (ready < 0 && errno != EINTR) die("waiting for events");
        for (int i = 0; i < ready; i++) {
            void *what = events[i].data.ptr;
            uint32_t happened = events[i].events;
            if (what == &listener) {
                welcome(listener);
            } else if (what == &timer) {
                uint64_t expirations;
                if (read(timer, &expirations, sizeof expirations) > 0) tick();
            } else if (happened & (EPOLLERR | EPOLLHUP | EPOLLRDHUP) || (happened & EPOLLOUT && !flush(what)) ||
                       (happened & EPOLLIN && !take(what))) {
                leave(what);
            }
        }
    }
}
