// SPDX-License-Identifier: Apache-2.0
// What busybox cannot do, for the test image.
//   probe euid                prints the effective user; busybox gives up setuid
//   probe clock               prints the time, the clocks' resolution and the
//                             monotonic clock, all in ns
//   probe udp-echo PORT       sends each datagram back to where it came from
//   probe udp-send HOST PORT  sends stdin as a datagram, prints the answer if it
//                             comes from there
//   probe xattr FILE          gives a file an attribute and prints it
//   probe touch MIB           takes so much memory, writes to each page of it and
//                             prints MIB
//   probe unix PATH           sends stdin and its end to a Unix socket, prints
//                             the answer
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static char data[65536];

static int udp_echo(int port)
{
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons(port) };
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof here) < 0) {
        perror("bind");
        return 1;
    }
    for (;;) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        ssize_t n = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&peer, &length);
        if (n < 0 || sendto(fd, data, n, 0, (struct sockaddr *)&peer, length) != n) {
            perror("echo");
            return 1;
        }
    }
}

static int udp_send(const char *host, int port)
{
    struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons(port) };
    struct timeval patience = { .tv_sec = 5 };
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    ssize_t n = read(0, data, sizeof data);
    if (fd < 0 || n < 0 || inet_pton(AF_INET, host, &peer.sin_addr) != 1
        || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0
        || sendto(fd, data, n, 0, (struct sockaddr *)&peer, sizeof peer) != n) {
        perror("send");
        return 1;
    }
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    n = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&from, &length);
    if (n < 0) {
        perror("answer");
        return 1;
    }
    if (from.sin_addr.s_addr != peer.sin_addr.s_addr || from.sin_port != peer.sin_port) {
        fprintf(stderr, "answer of port %d\n", ntohs(from.sin_port));
        return 1;
    }
    return write(1, data, n) == n ? 0 : 1;
}

static int copy(int from, int to)
{
    ssize_t n;
    while ((n = read(from, data, sizeof data)) > 0)
        for (ssize_t done = 0, m; done < n; done += m)
            if ((m = write(to, data + done, n - done)) < 0)
                return -1;
    return n;
}

static int unix_socket(const char *path)
{
    struct sockaddr_un peer = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    strncpy(peer.sun_path, path, sizeof peer.sun_path - 1);
    if (fd < 0 || connect(fd, (struct sockaddr *)&peer, sizeof peer) < 0) {
        perror("connect");
        return 1;
    }
    if (copy(0, fd) < 0 || shutdown(fd, SHUT_WR) < 0 || copy(fd, 1) < 0) {
        perror("talk");
        return 1;
    }
    return 0;
}

static int attribute(const char *file)
{
    if (setxattr(file, "user.probe", "value", 5, 0) < 0) {
        perror("setxattr");
        return 1;
    }
    ssize_t n = getxattr(file, "user.probe", data, sizeof data);
    if (n < 0) {
        perror("getxattr");
        return 1;
    }
    return write(1, data, n) == n ? 0 : 1;
}

static int clock_facts(void)
{
    struct timespec now, since, real, monotonic;
    if (clock_gettime(CLOCK_REALTIME, &now) < 0 || clock_gettime(CLOCK_MONOTONIC, &since) < 0
        || clock_getres(CLOCK_REALTIME, &real) < 0
        || clock_getres(CLOCK_MONOTONIC, &monotonic) < 0) {
        perror("clock");
        return 1;
    }
    printf("%lld%09ld %ld %ld %lld%09ld\n", (long long)now.tv_sec, now.tv_nsec, real.tv_nsec,
           monotonic.tv_nsec, (long long)since.tv_sec, since.tv_nsec);
    return 0;
}

static int touch(long mib)
{
    size_t size = (size_t)mib << 20;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    for (size_t at = 0; at < size; at += 4096)
        memory[at] = 1;
    printf("%ld\n", mib);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "clock") == 0)
        return clock_facts();
    if (argc == 2 && strcmp(argv[1], "euid") == 0)
        return printf("%u\n", geteuid()) > 0 ? 0 : 1;
    if (argc == 3 && strcmp(argv[1], "touch") == 0)
        return touch(atol(argv[2]));
    if (argc == 3 && strcmp(argv[1], "udp-echo") == 0)
        return udp_echo(atoi(argv[2]));
    if (argc == 3 && strcmp(argv[1], "xattr") == 0)
        return attribute(argv[2]);
    if (argc == 3 && strcmp(argv[1], "unix") == 0)
        return unix_socket(argv[2]);
    if (argc == 4 && strcmp(argv[1], "udp-send") == 0)
        return udp_send(argv[2], atoi(argv[3]));
    fputs("usage: probe clock | euid | udp-echo PORT | udp-send HOST PORT\n", stderr);
    return 2;
}
