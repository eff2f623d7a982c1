#include "metrics.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/fd.h"
#include "lib/log.h"
#include "lib/sock.h"
#include "metrics_page.h"

#define MAX_CONNECTIONS 16
#define MAX_HEADERS_BYTES 8192
#define TIMEOUT_SEC 5 /* without a byte in either direction */
#define BACKLOG 16
#define CROWDED_USEC 10000  /* until the oldest connection has made room */
#define NO_FDS_USEC 1000000 /* until there may be fds again */

/* The HTTP server closes a connection without telling: its inode says whether @fd is still that. Borrowed. */
struct connection {
        int fd;
        ino_t inode;
};

struct metrics {
        struct metrics_settings settings;
        struct evhttp *http;
        struct evconnlistener *listener; /* the HTTP server's */
        struct loop_source *accept_timer;
        struct connection connections[MAX_CONNECTIONS]; /* the oldest first; some may be closed by now */
        size_t n_connections;
        struct bufferevent *accepted; /* since the last turn; a reference */
        double started_sec;
        const char *path; /* of the socket; NULL: it is none of Unix's */
        struct stat socket;
};

/* --- The page --- */

/* proc_pid_statm(5): the pages of the address space, and those that are resident. */
static void get_memory(struct metrics_process *ret_process) {
        const uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
        _cleanup_fd_ int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
        char text[128], *end;
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

        if (n <= 0)
                return;
        text[n] = '\0';
        ret_process->virtual_bytes = strtoul(text, &end, 10) * page_bytes;
        ret_process->resident_bytes = strtoul(end, NULL, 10) * page_bytes;
}

static uint64_t count_fds(void) {
        DIR *folder = opendir("/proc/self/fd");
        const struct dirent *entry;
        uint64_t n = 0;

        if (!folder)
                return 0;
        while ((entry = readdir(folder)))
                n += entry->d_name[0] != '.' ? 1 : 0;
        closedir(folder);
        return n - 1; /* the folder's own */
}

static double seconds(const struct timespec *time) {
        return (double)time->tv_sec + (double)time->tv_nsec / 1e9;
}

static void get_process(const struct metrics *metrics, struct metrics_process *ret_process) {
        struct timespec cpu = { 0 };
        struct rlimit limit = { 0 };

        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
        getrlimit(RLIMIT_NOFILE, &limit);
        *ret_process = (struct metrics_process){
                .started_sec = metrics->started_sec,
                .cpu_sec = seconds(&cpu),
                .n_fds = count_fds(),
                .max_fds = limit.rlim_cur,
        };
        get_memory(ret_process);
}

static struct metrics_pool *find_pool(struct metrics_pool *pools, size_t n_pools, const char *name) {
        for (size_t i = 0; i < n_pools; i++)
                if (strcmp(pools[i].name, name) == 0)
                        return &pools[i];
        return NULL;
}

/* Adds @live to @pools, in which a pool that was made anew and what is left of the old one are one. */
static void add_pool(struct live_pool *live, struct metrics_pool *pools, size_t *n_pools) {
        const struct pool *policy = live_pool_policy(live);
        struct metrics_pool *pool = find_pool(pools, *n_pools, pool_name(policy));

        if (!pool) {
                pool = &pools[(*n_pools)++];
                *pool = (struct metrics_pool){
                        .name = pool_name(policy),
                        .stats = live_pool_stats(live),
                        .n_failed_starts = pool_failed_starts(policy),
                        .n_wanted = pool_size(policy),
                        .is_degraded = strcmp(pool_state_name(policy), "degraded") == 0,
                };
        }
        pool->n_waiting += live_pool_n_waiting(live);
        for (enum pool_worker_state state = POOL_STARTING; state < POOL_N_STATES; state++)
                pool->n_workers[state] += pool_count(policy, state);
}

/* Returns 0 and the page, freed with free(3), or -ENOMEM. */
static int make_page(const struct metrics *metrics, char **ret_text, size_t *ret_n_bytes) {
        const struct pools *live = metrics->settings.pools;
        struct metrics_process process;
        struct metrics_pool *pools;
        size_t n_pools = 0;
        FILE *page;
        bool failed;

        *ret_text = NULL;
        pools = calloc(pools_count(live) + 1, sizeof(*pools));
        page = pools ? open_memstream(ret_text, ret_n_bytes) : NULL;
        if (!page) {
                free(pools);
                return -ENOMEM;
        }
        for (size_t i = 0; i < pools_count(live); i++)
                add_pool(pools_at(live, i), pools, &n_pools);
        get_process(metrics, &process);
        metrics_page_write(page, &process, pools, n_pools);
        failed = ferror(page);
        failed |= fclose(page) != 0;
        free(pools);
        if (!failed)
                return 0;
        free(*ret_text);
        return -ENOMEM;
}

/* --- Requests --- */

/*
 * Is a request to a TCP port meant for us? A web site may have its own name resolve to 127.0.0.1, to read here with its
 * visitor's browser; that then asks for the site's name, and we have none.
 */
static bool is_for_us(struct evhttp_request *request) {
        const char *host = evhttp_request_get_host(request);
        char address[INET6_ADDRSTRLEN + 2];
        struct in6_addr parsed;
        size_t n;

        if (!host || strcmp(host, "localhost") == 0 || inet_pton(AF_INET, host, &parsed) == 1)
                return true;
        n = strlen(host);
        if (n < 2 || n >= sizeof(address) || host[0] != '[' || host[n - 1] != ']')
                return false;
        memcpy(address, host + 1, n - 2);
        address[n - 2] = '\0';
        return inet_pton(AF_INET6, address, &parsed) == 1;
}

static void free_page(const void *data, size_t n_bytes, void *text) {
        (void)data;
        (void)n_bytes;
        free(text);
}

static void on_request(struct evhttp_request *request, void *data) {
        const struct metrics *metrics = data;
        struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
        struct evbuffer *body = evhttp_request_get_output_buffer(request);
        size_t n_bytes;
        char *text;

        if (!metrics->path && !is_for_us(request)) {
                evhttp_send_error(request, HTTP_BADREQUEST, "Not a name of this server");
                return;
        }
        if (make_page(metrics, &text, &n_bytes) < 0) {
                evhttp_send_error(request, HTTP_INTERNAL, "Out of memory");
                return;
        }
        if (evbuffer_add_reference(body, text, n_bytes, free_page, text) < 0)
                free(text);
        evhttp_add_header(headers, "Content-Type", METRICS_CONTENT_TYPE);
        evhttp_add_header(headers, "Connection", "close");
        evhttp_send_reply(request, HTTP_OK, "OK", NULL);
}

/* --- Connections --- */

static bool is_open(const struct connection *connection) {
        struct stat st;

        return fstat(connection->fd, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_ino == connection->inode;
}

static void forget_closed(struct metrics *metrics) {
        size_t n = 0;

        for (size_t i = 0; i < metrics->n_connections; i++)
                if (is_open(&metrics->connections[i]))
                        metrics->connections[n++] = metrics->connections[i];
        metrics->n_connections = n;
}

/* Takes down whom the HTTP server has let in. It has not yet had a chance to close that. */
static void note_accepted(struct metrics *metrics) {
        struct stat st;
        int fd;

        if (!metrics->accepted)
                return;
        fd = bufferevent_getfd(metrics->accepted);
        if (fd >= 0 && fstat(fd, &st) == 0)
                metrics->connections[metrics->n_connections++] = (struct connection){ fd, st.st_ino };
        bufferevent_decref(metrics->accepted);
        metrics->accepted = NULL;
}

/* Lets the next connection in. Where there are too many, the oldest has to go first. */
static void on_accept_timer(void *data, unsigned events) {
        struct metrics *metrics = data;

        (void)events;
        note_accepted(metrics);
        forget_closed(metrics);
        if (metrics->n_connections < MAX_CONNECTIONS) {
                evconnlistener_enable(metrics->listener);
                return;
        }
        shutdown(metrics->connections[0].fd, SHUT_RDWR);
        loop_set_deadline(metrics->accept_timer, loop_now_usec() + CROWDED_USEC);
}

static void pause_accepting(struct metrics *metrics, uint64_t pause_usec) {
        evconnlistener_disable(metrics->listener);
        loop_set_deadline(metrics->accept_timer, loop_now_usec() + pause_usec);
}

/*
 * A connection was accepted: what it is read and written with, of which its fd will be known when this turn is over. Left
 * to itself, libevent would go on accepting for as long as there is somebody.
 */
static struct bufferevent *on_connection(struct event_base *base, void *data) {
        struct metrics *metrics = data;

        pause_accepting(metrics, 0);
        metrics->accepted = bufferevent_socket_new(base, -1, 0);
        if (metrics->accepted)
                bufferevent_incref(metrics->accepted);
        return metrics->accepted;
}

/* What libevent passes on here is the HTTP server's, which does not know of us. */
static struct metrics *served;

static void on_accept_error(struct evconnlistener *listener, void *data) {
        (void)listener;
        (void)data;
        pause_accepting(served, NO_FDS_USEC);
}

/* --- Life --- */

/* The socket at @address, "ADDRESS:PORT" or "[ADDRESS]:PORT". Returns an fd that the caller owns, or negative errno. */
static int listen_tcp(const char *address) {
        union {
                struct sockaddr any;
                struct sockaddr_in v4;
                struct sockaddr_in6 v6;
        } to = { 0 };
        char host[INET6_ADDRSTRLEN + 1] = "";
        const char *colon = strrchr(address, ':');
        const in_port_t port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
        const size_t n_brackets = address[0] == '[' ? 1 : 0;
        _cleanup_fd_ int fd = -1;
        socklen_t length;

        memcpy(host, address + n_brackets, (size_t)(colon - address) - 2 * n_brackets);
        if (inet_pton(AF_INET, host, &to.v4.sin_addr) == 1) {
                to.v4.sin_family = AF_INET;
                to.v4.sin_port = port;
                length = sizeof(to.v4);
        } else if (inet_pton(AF_INET6, host, &to.v6.sin6_addr) == 1) {
                to.v6.sin6_family = AF_INET6;
                to.v6.sin6_port = port;
                length = sizeof(to.v6);
        } else {
                return -EINVAL;
        }
        fd = socket(to.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        /* Our predecessor's connections may not be quite over. */
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
        if (bind(fd, &to.any, length) < 0 || listen(fd, BACKLOG) < 0)
                return -errno;
        return fd_steal(&fd);
}

static const char *explain(const struct metrics *metrics, int error) {
        if (error == -EPERM && strncmp(metrics->settings.address, "unix:", 5) == 0)
                return "the socket or its folder belongs to somebody else, or the folder is open to others; it "
                       "must "
                       "be yours, mode 0700";
        return strerror(-error);
}

static int start_listening(struct metrics *metrics) {
        const char *address = metrics->settings.address;
        int fd;

        if (strncmp(address, "unix:", 5) != 0)
                return listen_tcp(address);
        fd = sock_listen(address + 5, BACKLOG);
        if (fd >= 0 && stat(address + 5, &metrics->socket) == 0)
                metrics->path = address + 5;
        return fd;
}

/* Serves at @fd, which is taken. Returns 0 or -ENOMEM. */
static int set_up(struct metrics *metrics, int fd) {
        struct evhttp_bound_socket *bound;

        metrics->http = evhttp_new(loop_base(metrics->settings.loop));
        bound = metrics->http ? evhttp_accept_socket_with_handle(metrics->http, fd) : NULL;
        if (!bound) {
                fd_close(fd);
                return -ENOMEM;
        }
        metrics->listener = evhttp_bound_socket_get_listener(bound);
        metrics->accept_timer = loop_add_timer(metrics->settings.loop, on_accept_timer, metrics);
        if (!metrics->accept_timer || evhttp_set_cb(metrics->http, "/metrics", on_request, metrics) < 0)
                return -ENOMEM;
        served = metrics;
        evconnlistener_set_error_cb(metrics->listener, on_accept_error);
        evhttp_set_bevcb(metrics->http, on_connection, metrics);
        evhttp_set_allowed_methods(metrics->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
        evhttp_set_max_headers_size(metrics->http, MAX_HEADERS_BYTES);
        evhttp_set_max_body_size(metrics->http, 0);
        evhttp_set_timeout(metrics->http, TIMEOUT_SEC);
        return 0;
}

struct metrics *metrics_new(const struct metrics_settings *settings) {
        struct metrics *metrics;
        struct timespec now;
        int r;

        if (!settings->address)
                return NULL;
        metrics = calloc(1, sizeof(*metrics));
        if (!metrics)
                return NULL;
        metrics->settings = *settings;
        clock_gettime(CLOCK_REALTIME, &now);
        metrics->started_sec = seconds(&now);
        r = start_listening(metrics);
        if (r >= 0)
                r = set_up(metrics, r);
        if (r < 0) {
                log_err("no metrics at %s: %s", settings->address, explain(metrics, r));
                return metrics_free(metrics);
        }
        log_info("metrics at %s", settings->address);
        return metrics;
}

struct metrics *metrics_free(struct metrics *metrics) {
        struct stat there;

        if (!metrics)
                return NULL;
        /* Somebody may have removed the socket, and another poold may have its own there now. */
        if (metrics->path && stat(metrics->path, &there) == 0 && there.st_ino == metrics->socket.st_ino &&
            there.st_dev == metrics->socket.st_dev)
                unlink(metrics->path);
        if (metrics->http)
                evhttp_free(metrics->http);
        if (metrics->accepted)
                bufferevent_decref(metrics->accepted);
        loop_source_free(metrics->accept_timer);
        free(metrics);
        return NULL;
}
