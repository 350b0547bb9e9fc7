/* SPDX-License-Identifier: Apache-2.0
 * PID 1 of a test guest: answers one-line requests on the first virtio-serial port.
 *
 *   echo TEXT       TEXT
 *   port            name of the port
 *   macs            hardware addresses of the network cards, in the kernel's order
 *   mount TAG       "ok": mounts the virtiofs share at /share
 *   read PATH       first line of a file
 *   write PATH      "ok": creates the file and writes a byte
 *   uptime          seconds since boot
 *   reset           ends the machine (it has no power switch: power-off would only halt it)
 *   crash           panics the kernel
 *   flood           writes 1.1 MiB to the console, then "ok"
 * Anything that fails answers "error: REASON".
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

static char answer[4096];

static int failed(void)
{
	snprintf(answer, sizeof answer, "error: %s", strerror(errno));
	return -1;
}

static int read_line(const char *path, char *into, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t count = fd < 0 ? -1 : read(fd, into, size - 1);

	if (fd >= 0)
		close(fd);
	if (count < 0)
		return -1;
	into[count] = 0;
	into[strcspn(into, "\n")] = 0;
	return 0;
}

static int read_all(const char *pattern)
{
	char line[256];
	glob_t found;

	answer[0] = 0;
	if (glob(pattern, 0, NULL, &found) != 0) {
		errno = ENOENT;
		return failed();
	}
	for (size_t at = 0; at < found.gl_pathc; at++) {
		if (read_line(found.gl_pathv[at], line, sizeof line) < 0)
			return failed();
		if (at)
			strcat(answer, " ");
		strcat(answer, line);
	}
	globfree(&found);
	return 0;
}

static void serve(const char *request, const char *argument)
{
	strcpy(answer, "ok");
	if (!strcmp(request, "echo")) {
		snprintf(answer, sizeof answer, "%s", argument);
	} else if (!strcmp(request, "port")) {
		read_all("/sys/class/virtio-ports/vport*/name");
	} else if (!strcmp(request, "macs")) {
		read_all("/sys/class/net/eth*/address");
	} else if (!strcmp(request, "uptime")) {
		read_all("/proc/uptime");
	} else if (!strcmp(request, "mount")) {
		mkdir("/share", 0700);
		if (mount(argument, "/share", "virtiofs", 0, NULL) < 0)
			failed();
	} else if (!strcmp(request, "read")) {
		if (read_line(argument, answer, sizeof answer) < 0)
			failed();
	} else if (!strcmp(request, "write")) {
		int fd = open(argument, O_WRONLY | O_CREAT, 0644);
		if (fd < 0 || write(fd, "x", 1) != 1)
			failed();
		if (fd >= 0)
			close(fd);
	} else if (!strcmp(request, "flood")) {
		memset(answer, '.', 1023);
		answer[1023] = '\n';
		for (int at = 0; at < 1100; at++)
			if (write(1, answer, 1024) < 0)
				break;
		strcpy(answer, "ok");
	} else if (!strcmp(request, "reset")) {
		reboot(RB_AUTOBOOT);
	} else if (!strcmp(request, "crash")) {
		exit(1); /* PID 1 must not: the kernel panics */
	} else {
		errno = ENOSYS;
		failed();
	}
}

int main(void)
{
	static const char port[] = "/dev/vport0p1";
	char line[1024], events[4096];
	size_t used = 0;
	int fd, watch = inotify_init();

	mkdir("/dev", 0755), mkdir("/proc", 0755), mkdir("/sys", 0755);
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sys", "/sys", "sysfs", 0, NULL);
	fd = open("/dev/ttyS0", O_WRONLY);
	dup2(fd, 1), dup2(fd, 2);
	puts("test guest: up"), fflush(stdout);

	inotify_add_watch(watch, "/dev", IN_CREATE);
	while ((fd = open(port, O_RDWR)) < 0)
		if (errno != ENOENT || read(watch, events, sizeof events) < 0)
			return 1;
	for (;;) {
		ssize_t count = read(fd, line + used, sizeof line - 1 - used);
		char *end;

		if (count <= 0)
			return 2;
		used += count;
		line[used] = 0;
		while ((end = strchr(line, '\n'))) {
			char *argument = strchr(line, ' ');

			*end = 0;
			if (argument && argument < end)
				*argument++ = 0;
			serve(line, argument && argument < end ? argument : "");
			strcat(answer, "\n");
			if (write(fd, answer, strlen(answer)) < 0)
				return 3;
			used -= end + 1 - line;
			memmove(line, end + 1, used + 1);
		}
	}
}
