/* What the load generator and the mock engine share: the clock, sockets on 127.0.0.1, and reading one HTTP/1.1 header.
 * No policy and no state here; both programs are one translation unit each and include this file. */
#ifndef WIRE_H
#define WIRE_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SECOND 1000000000ull

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_SECOND + (uint64_t)t.tv_nsec;
}

static inline void die(const char *doing) {
    fprintf(stderr, "%s: %s\n", doing, strerror(errno));
    exit(1);
}

/* Out of memory ends the program: a benchmark that limps on would print figures nobody should read. */
static inline void *grow(void *memory, size_t size) {
    void *grown = realloc(memory, size);
    if (!grown) die("allocating memory");
    return grown;
}

static inline struct sockaddr_in loopback(int port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* Nagle's algorithm would hold back a small chunk until the last one is acknowledged: that is 40 ms, not a proxy's cost. */
static inline void no_delay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* The value of header `name` in [head, end), or NULL. The value runs to the end of its line. */
static inline const char *header(const char *head, const char *end, const char *name) {
    size_t length = strlen(name);
    for (const char *line = memchr(head, '\n', (size_t)(end - head)); line; line = memchr(line, '\n', (size_t)(end - line))) {
        line++;
        if ((size_t)(end - line) <= length) return NULL;
        if (line[length] != ':' || strncasecmp(line, name, length) != 0) continue;
        const char *value = line + length + 1;
        while (value < end && *value == ' ') value++;
        return value;
    }
    return NULL;
}

static inline bool header_is(const char *head, const char *end, const char *name, const char *expected) {
    const char *value = header(head, end, name);
    size_t length = strlen(expected);
    return value && (size_t)(end - value) >= length && strncasecmp(value, expected, length) == 0;
}

#endif
