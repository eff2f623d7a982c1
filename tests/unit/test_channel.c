#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/channel.h"
#include "lib/fd.h"

/* A client at one end, of which the tests have the channel or the bare socket; a server or worker at the other. */
struct ends {
        struct channel *client, *server;
        int raw; /* the client's socket, borrowed */
};

static void ends_init(struct ends *ends) {
        int pair[2];

        unit_socketpair(pair);
        ends->raw = pair[0];
        ends->client = channel_new(pair[0], PROTO_CLIENT, PROTO_SERVER | PROTO_WORKER);
        ends->server = channel_new(pair[1], PROTO_SERVER | PROTO_WORKER, PROTO_CLIENT);
        assert_true(ends->client && ends->server);
}

static void ends_fini(struct ends *ends) {
        ends->client = channel_free(ends->client);
        ends->server = channel_free(ends->server);
}

#define _cleanup_ends_ __attribute__((cleanup(ends_fini)))

static struct fdset new_files(size_t n) {
        struct fdset fds = { 0 };

        while (n--)
                fdset_push(&fds, unit_new_file());
        return fds;
}

/* Checks that @message has the very files of @fds, close-on-exec, and ends it. */
static void check_fds(struct message *message, const struct fdset *fds, size_t n_fds) {
        assert_int_equal(message->fds.n_fds, n_fds);
        for (size_t i = 0; i < n_fds; i++) {
                assert_true(unit_same_file(message->fds.fds[i], fds->fds[i]));
                assert_int_equal(fcntl(message->fds.fds[i], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        }
        message_fini(message);
}

/* A message of zeroes, as it is on the wire. */
static void put_raw(struct wire_writer *bytes, const struct proto_header *header) {
        uint8_t header_bytes[PROTO_HEADER_BYTES];

        proto_header_write(header, header_bytes);
        for (size_t i = 0; i < sizeof(header_bytes); i += 2)
                wire_put_u16(bytes, (uint16_t)(header_bytes[i] | header_bytes[i + 1] << 8));
        for (size_t i = 0; i < header->n_payload; i += 2)
                wire_put_u16(bytes, 0);
        assert_int_equal(bytes->error, 0);
        bytes->n_bytes -= header->n_payload % 2;
}

/* Sends bytes as they are, with any fds, which are borrowed. */
static void send_raw(int fd, const void *bytes, size_t n_bytes, const struct fdset *fds) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * FDSET_MAX)];
        } control = { 0 };
        struct iovec iov = { (void *)bytes, n_bytes };
        struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (fds && fds->n_fds) {
                control.align.cmsg_level = SOL_SOCKET;
                control.align.cmsg_type = SCM_RIGHTS;
                control.align.cmsg_len = CMSG_LEN(sizeof(int) * fds->n_fds);
                memcpy(CMSG_DATA(&control.align), fds->fds, sizeof(int) * fds->n_fds);
                header.msg_control = &control;
                header.msg_controllen = CMSG_SPACE(sizeof(int) * fds->n_fds);
        }
        assert_int_equal(sendmsg(fd, &header, MSG_NOSIGNAL), n_bytes);
}

static void send_header(int fd, struct proto_header header, const struct fdset *fds) {
        uint8_t bytes[PROTO_HEADER_BYTES];

        proto_header_write(&header, bytes);
        send_raw(fd, bytes, sizeof(bytes), fds);
}

static int send_status(struct channel *channel, uint32_t flags) {
        _cleanup_writer_ struct wire_writer writer = { 0 };

        proto_put_status(&writer, &(struct proto_status){ .flags = flags });
        return channel_send(channel, PROTO_STATUS, &writer, NULL);
}

static int send_assigned(struct channel *channel, uint32_t pid, const struct fdset *fds) {
        _cleanup_writer_ struct wire_writer writer = { 0 };

        proto_put_assigned(&writer, &(struct proto_assigned){ .pid = pid });
        return channel_send(channel, PROTO_ASSIGNED, &writer, fds);
}

/* A RUN with @env_bytes of environment, in one variable per 100 bytes. */
static void put_run(struct wire_writer *writer, size_t env_bytes) {
        char *env = malloc(env_bytes + 1);
        struct proto_run run = {
                .pool = "ml",
                .argv = { .count = 2, .data = "-c\0pass", .n_bytes = 8 },
                .env = { .count = (uint32_t)(env_bytes / 100), .data = env, .n_bytes = env_bytes },
                .umask = 022,
        };

        assert_int_equal(env_bytes % 100, 0);
        for (size_t i = 0; i < env_bytes; i++)
                env[i] = (char)(i % 100 == 99 ? 0 : 'a' + i / 100 % 26);
        proto_put_run(writer, &run);
        assert_int_equal(writer->error, 0);
        free(env);
}

static void check_run(struct message *message, const struct wire_writer *expected) {
        struct wire_reader payload = message->payload;
        struct proto_run run;

        assert_int_equal(message->type, PROTO_RUN);
        assert_int_equal(payload.end - payload.at, expected->n_bytes);
        assert_memory_equal(payload.at, expected->data, expected->n_bytes);
        assert_int_equal(proto_get_run(&payload, &run), 0);
        assert_string_equal(run.pool, "ml");
        assert_int_equal(run.argv.count, 2);
        assert_int_equal(run.umask, 022);
}

static void check_status(struct channel *channel, uint32_t flags) {
        struct proto_status status;
        struct message message;

        assert_int_equal(channel_next(channel, &message), 0);
        assert_int_equal(message.type, PROTO_STATUS);
        assert_int_equal(message.fds.n_fds, 0);
        assert_int_equal(proto_get_status(&message.payload, &status), 0);
        assert_int_equal(status.flags, flags);
}

/* The server has @r as its answer to what was sent, and then closes all that came. */
static void check_breach(struct ends *ends, int r) {
        struct message message;

        assert_int_equal(channel_receive(ends->server, &message), r);
        assert_int_equal(message.fds.n_fds, 0);
}

static void a_whole_message_with_fds(void **state) {
        _cleanup_ends_ struct ends ends;
        _cleanup_fdset_ struct fdset fds = new_files(5);
        _cleanup_writer_ struct wire_writer run = { 0 };
        struct message message;

        (void)state;
        ends_init(&ends);
        put_run(&run, 5000);
        assert_int_equal(channel_send(ends.client, PROTO_RUN, &run, &fds), 0);
        assert_int_equal(channel_next(ends.server, &message), CHANNEL_AGAIN);
        assert_int_equal(channel_read(ends.server), 0);
        assert_int_equal(channel_next(ends.server, &message), 0);
        check_run(&message, &run);
        check_fds(&message, &fds, 5);
        assert_int_equal(channel_next(ends.server, &message), CHANNEL_AGAIN);
        assert_int_equal(channel_read(ends.server), CHANNEL_AGAIN);
}

static void as_many_fds_as_the_kernel_carries(void **state) {
        _cleanup_ends_ struct ends ends;
        _cleanup_fdset_ struct fdset fds = new_files(PROTO_MAX_FDS - 1);
        _cleanup_writer_ struct wire_writer run = { 0 };
        struct message message;

        (void)state;
        ends_init(&ends);
        put_run(&run, 100);
        assert_int_equal(channel_send(ends.client, PROTO_RUN, &run, &fds), 0);
        assert_int_equal(channel_receive(ends.server, &message), 0);
        check_run(&message, &run);
        check_fds(&message, &fds, PROTO_MAX_FDS - 1);
}

/* The fds come with the first byte; the message is there with the last one and not before. */
static void one_byte_at_a_time(void **state) {
        _cleanup_ends_ struct ends ends;
        _cleanup_fdset_ struct fdset fds = new_files(3);
        _cleanup_writer_ struct wire_writer run = { 0 }, bytes = { 0 };
        struct message message;

        (void)state;
        ends_init(&ends);
        put_run(&run, 300);
        put_raw(&bytes, &(struct proto_header){ PROTO_VERSION, PROTO_RUN, (uint32_t)run.n_bytes, 3 });
        assert_int_equal(bytes.n_bytes, PROTO_HEADER_BYTES + run.n_bytes);
        memcpy(bytes.data + PROTO_HEADER_BYTES, run.data, run.n_bytes);
        for (int round = 0; round < 3; round++) {
                for (size_t i = 0; i < bytes.n_bytes; i++) {
                        assert_int_equal(channel_next(ends.server, &message), CHANNEL_AGAIN);
                        assert_int_equal(channel_read(ends.server), CHANNEL_AGAIN);
                        send_raw(ends.raw, bytes.data + i, 1, i == 0 ? &fds : NULL);
                        assert_int_equal(channel_read(ends.server), 0);
                }
                assert_int_equal(channel_next(ends.server, &message), 0);
                check_run(&message, &run);
                check_fds(&message, &fds, 3);
        }
}

static void several_messages_in_one_read(void **state) {
        _cleanup_ends_ struct ends ends;
        struct message message;

        (void)state;
        ends_init(&ends);
        for (uint32_t i = 0; i < 50; i++)
                assert_int_equal(send_status(ends.client, i), 0);
        assert_int_equal(channel_read(ends.server), 0);
        for (uint32_t i = 0; i < 50; i++)
                check_status(ends.server, i);
        assert_int_equal(channel_next(ends.server, &message), CHANNEL_AGAIN);
}

/* The end of one message and the beginning of the next in one read, at every place where they can be cut. */
static void cut_anywhere(void **state) {
        _cleanup_writer_ struct wire_writer bytes = { 0 };
        const size_t n_one = PROTO_HEADER_BYTES + 4;

        (void)state;
        for (int i = 0; i < 3; i++)
                put_raw(&bytes, &(struct proto_header){ PROTO_VERSION, PROTO_STATUS, 4, 0 });
        for (size_t cut = 1; cut < bytes.n_bytes; cut++) {
                _cleanup_ends_ struct ends ends;
                struct message message;

                ends_init(&ends);
                send_raw(ends.raw, bytes.data, cut, NULL);
                assert_int_equal(channel_read(ends.server), 0);
                for (size_t i = 0; i < cut / n_one; i++)
                        check_status(ends.server, 0);
                assert_int_equal(channel_next(ends.server, &message), CHANNEL_AGAIN);
                send_raw(ends.raw, bytes.data + cut, bytes.n_bytes - cut, NULL);
                assert_int_equal(channel_read(ends.server), 0);
                for (size_t i = cut / n_one; i < 3; i++)
                        check_status(ends.server, 0);
                assert_int_equal(channel_next(ends.server, &message), CHANNEL_AGAIN);
        }
}

/* Messages with and without fds, all sent before the first is read. */
static void fds_go_with_their_message(void **state) {
        _cleanup_ends_ struct ends ends;
        _cleanup_fdset_ struct fdset first = new_files(2), second = new_files(2);
        _cleanup_writer_ struct wire_writer ended = { 0 };
        static const unsigned expected[] = { PROTO_EXIT, PROTO_ASSIGNED, PROTO_EXIT, PROTO_ASSIGNED, PROTO_EXIT };
        struct message message;

        (void)state;
        ends_init(&ends);
        proto_put_ended(&ended, &(struct proto_ended){ .wait_status = 9 });
        assert_int_equal(channel_send(ends.server, PROTO_EXIT, &ended, NULL), 0);
        assert_int_equal(send_assigned(ends.server, 1, &first), 0);
        assert_int_equal(channel_send(ends.server, PROTO_EXIT, &ended, NULL), 0);
        assert_int_equal(send_assigned(ends.server, 2, &second), 0);
        assert_int_equal(channel_send(ends.server, PROTO_EXIT, &ended, NULL), 0);
        for (size_t i = 0; i < N_ELEMENTS(expected); i++) {
                assert_int_equal(channel_receive(ends.client, &message), 0);
                assert_int_equal(message.type, expected[i]);
                check_fds(&message, i == 1 ? &first : &second, i % 2 * 2);
        }
}

/* More than one set holds, but each message has what it announced: that is no breach, wherever a read ends. */
static void two_messages_full_of_fds(void **state) {
        _cleanup_fdset_ struct fdset fds = new_files(200);
        _cleanup_writer_ struct wire_writer bytes = { 0 };

        (void)state;
        put_raw(&bytes, &(struct proto_header){ PROTO_VERSION, PROTO_RUN, 100, 200 });
        for (size_t cut = 1; cut < bytes.n_bytes; cut += 9) {
                _cleanup_ends_ struct ends ends;
                struct message message;

                ends_init(&ends);
                send_raw(ends.raw, bytes.data, cut, &fds);
                assert_int_equal(channel_read(ends.server), 0);
                send_raw(ends.raw, bytes.data + cut, bytes.n_bytes - cut, NULL);
                send_raw(ends.raw, bytes.data, bytes.n_bytes, &fds);
                for (int i = 0; i < 2; i++) {
                        assert_int_equal(channel_receive(ends.server, &message), 0);
                        check_fds(&message, &fds, 200);
                }
        }
}

static void fewer_fds_than_announced(void **state) {
        _cleanup_ends_ struct ends ends;
        _cleanup_fdset_ struct fdset fds = new_files(2);

        (void)state;
        ends_init(&ends);
        send_header(ends.raw, (struct proto_header){ PROTO_VERSION, PROTO_RUN, 0, 3 }, &fds);
        check_breach(&ends, -EPROTO);
}

static void more_fds_than_announced(void **state) {
        _cleanup_ends_ struct ends ends;
        _cleanup_fdset_ struct fdset fds = new_files(4);

        (void)state;
        ends_init(&ends);
        send_header(ends.raw, (struct proto_header){ PROTO_VERSION, PROTO_RUN, 0, 3 }, &fds);
        check_breach(&ends, -EPROTO);
}

static void fds_that_no_message_announced(void **state) {
        _cleanup_ends_ struct ends ends;
        _cleanup_fdset_ struct fdset fds = new_files(1);

        (void)state;
        ends_init(&ends);
        send_header(ends.raw, (struct proto_header){ PROTO_VERSION, PROTO_STATUS, 0, 0 }, &fds);
        check_breach(&ends, -EPROTO);
}

/* One fd with each byte of a payload that never ends: the set is full before memory is. */
static void fds_with_every_byte(void **state) {
        _cleanup_ends_ struct ends ends;
        _cleanup_fdset_ struct fdset one = new_files(1);
        struct message message;
        int r = 0;

        (void)state;
        ends_init(&ends);
        send_header(ends.raw, (struct proto_header){ PROTO_VERSION, PROTO_RUN, 1 << 20, 2 }, &one);
        assert_int_equal(channel_read(ends.server), 0);
        for (int i = 1; r == 0 && i <= FDSET_MAX; i++) {
                send_raw(ends.raw, "x", 1, &one);
                r = channel_read(ends.server);
                assert_int_equal(r, i < FDSET_MAX ? 0 : -EPROTO);
                assert_int_equal(channel_next(ends.server, &message), CHANNEL_AGAIN);
        }
        assert_int_equal(r, -EPROTO);
}

/* MSG_CTRUNC: this process has no room for all the fds that came. */
static void no_room_for_the_fds(void **state) {
        _cleanup_ends_ struct ends ends;
        _cleanup_fdset_ struct fdset fds = new_files(10);
        unsigned long old_limit;
        int r;

        (void)state;
        ends_init(&ends);
        send_header(ends.raw, (struct proto_header){ PROTO_VERSION, PROTO_RUN, 0, 10 }, &fds);
        old_limit = unit_limit_fds((unsigned long)fds.fds[9] + 4);
        r = channel_read(ends.server);
        unit_limit_fds(old_limit);
        assert_int_equal(r, -EPROTO);
}

static void headers_against_the_rules(void **state) {
        static const struct {
                struct proto_header header;
                int r;
        } cases[] = {
                { { PROTO_VERSION + 1, PROTO_RUN, 0, 2 }, -EPROTONOSUPPORT },
                { { 0, PROTO_RUN, 0, 2 }, -EPROTONOSUPPORT },
                { { PROTO_VERSION, PROTO_REFUSED, 4, 0 }, -EPROTO }, /* a server's own message */
                { { PROTO_VERSION, PROTO_READY, 20, 0 }, -EPROTO },  /* a worker's */
                { { PROTO_VERSION, PROTO_STOPPED, 4, 0 }, -EPROTO }, /* a keeper's */
                { { PROTO_VERSION, PROTO_REFUSED, 0, 0 }, -EPROTO }, /* and this in any version */
                { { PROTO_VERSION + 1, PROTO_REFUSED, 0, 0 }, -EPROTO },
                { { PROTO_VERSION, 0, 0, 0 }, -EPROTO }, /* no message */
                { { PROTO_VERSION, 4711, 0, 0 }, -EPROTO },
                { { PROTO_VERSION, PROTO_RUN, (16 << 20) + 1, 2 }, -EPROTO }, /* too large */
                { { PROTO_VERSION, PROTO_RUN, UINT32_MAX, 2 }, -EPROTO },
                { { PROTO_VERSION, PROTO_STATUS, 65, 0 }, -EPROTO },
                { { PROTO_VERSION, PROTO_RUN, 0, 1 }, -EPROTO },             /* too few fds announced */
                { { PROTO_VERSION, PROTO_RUN, 0, PROTO_MAX_FDS }, -EPROTO }, /* too many */
                { { PROTO_VERSION, PROTO_RUN, 0, UINT16_MAX }, -EPROTO },
        };

        (void)state;
        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                _cleanup_ends_ struct ends ends;
                _cleanup_fdset_ struct fdset fds = new_files(2);

                ends_init(&ends);
                send_header(ends.raw, cases[i].header, &fds);
                check_breach(&ends, cases[i].r);
                assert_int_equal(channel_read(ends.server), cases[i].r); /* and it stays so */
        }
}

static void wrong_magic(void **state) {
        _cleanup_ends_ struct ends ends;

        (void)state;
        ends_init(&ends);
        send_raw(ends.raw, "GET / HTTP/1.1\r\n\r\n", 18, NULL);
        check_breach(&ends, -EPROTO);
}

/* So that a client learns that poold is another version. */
static void refused_is_read_in_any_version(void **state) {
        _cleanup_ends_ struct ends ends;
        struct message message;
        int server;

        (void)state;
        ends_init(&ends);
        server = channel_fd(ends.server);
        send_header(server, (struct proto_header){ PROTO_VERSION + 7, PROTO_REFUSED, 0, 0 }, NULL);
        assert_int_equal(channel_receive(ends.client, &message), 0);
        assert_int_equal(message.type, PROTO_REFUSED);
}

static void the_largest_payload_there_is(void **state) {
        _cleanup_ends_ struct ends ends;
        struct message message;

        (void)state;
        ends_init(&ends);
        send_header(ends.raw, (struct proto_header){ PROTO_VERSION, PROTO_STATUS, 64, 0 }, NULL);
        for (int i = 0; i < 64; i++) {
                assert_int_equal(channel_receive(ends.server, &message), CHANNEL_AGAIN);
                send_raw(ends.raw, "x", 1, NULL);
        }
        assert_int_equal(channel_receive(ends.server, &message), 0);
        assert_int_equal(message.payload.end - message.payload.at, 64);
}

static void the_end_in_the_midst_of_a_message(void **state) {
        static const size_t lengths[] = { 0, 1, 15, 16, 17, 115 };
        _cleanup_writer_ struct wire_writer bytes = { 0 };

        (void)state;
        put_raw(&bytes, &(struct proto_header){ PROTO_VERSION, PROTO_RUN, 100, 2 });
        for (size_t i = 0; i < N_ELEMENTS(lengths); i++) {
                _cleanup_ends_ struct ends ends;
                _cleanup_fdset_ struct fdset fds = new_files(2);
                struct message message;

                ends_init(&ends);
                if (lengths[i])
                        send_raw(ends.raw, bytes.data, lengths[i], &fds);
                ends.client = channel_free(ends.client);
                assert_int_equal(channel_receive(ends.server, &message), CHANNEL_EOF);
                assert_int_equal(channel_receive(ends.server, &message), CHANNEL_EOF);
        }
}

/* A message that is whole counts, though the peer is gone. */
static void the_end_behind_a_message(void **state) {
        _cleanup_ends_ struct ends ends;
        struct message message;

        (void)state;
        ends_init(&ends);
        assert_int_equal(send_status(ends.client, 7), 0);
        ends.client = channel_free(ends.client);
        assert_int_equal(channel_read(ends.server), 0);
        check_status(ends.server, 7);
        assert_int_equal(channel_receive(ends.server, &message), CHANNEL_EOF);
}

static void a_large_environment_through_a_socket_that_does_not_block(void **state) {
        _cleanup_ends_ struct ends ends;
        _cleanup_fdset_ struct fdset fds = new_files(4);
        _cleanup_writer_ struct wire_writer run = { 0 };
        struct message message;
        int sent, received, n_turns = 0;

        (void)state;
        ends_init(&ends);
        assert_int_equal(fd_set_nonblock(ends.raw, true), 0);
        put_run(&run, 2000000);
        sent = channel_send(ends.client, PROTO_RUN, &run, &fds);
        assert_int_equal(sent, CHANNEL_AGAIN);
        assert_true(channel_is_flushing(ends.client));
        while ((received = channel_receive(ends.server, &message)) == CHANNEL_AGAIN) {
                assert_int_equal(sent, CHANNEL_AGAIN);
                sent = channel_flush(ends.client);
                assert_true(sent == 0 || sent == CHANNEL_AGAIN);
                n_turns++;
        }
        assert_int_equal(received, 0);
        assert_int_equal(sent, 0);
        assert_true(n_turns > 3);
        assert_false(channel_is_flushing(ends.client));
        check_run(&message, &run);
        check_fds(&message, &fds, 4);
}

/* Blocking at both ends, as poolctl and the worker are. */
static void a_large_environment_between_processes(void **state) {
        _cleanup_ends_ struct ends ends;
        _cleanup_fdset_ struct fdset fds = new_files(2);
        _cleanup_writer_ struct wire_writer run = { 0 };
        struct message message;
        int status;
        pid_t pid;

        (void)state;
        ends_init(&ends);
        assert_int_equal(fd_set_nonblock(channel_fd(ends.server), false), 0);
        put_run(&run, 2000000);
        pid = fork();
        if (pid == 0)
                _exit(channel_send(ends.client, PROTO_RUN, &run, &fds) == 0 ? 0 : 1);
        assert_int_equal(channel_receive(ends.server, &message), 0);
        check_run(&message, &run);
        check_fds(&message, &fds, 2);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

/* Fills the socket from the server to the client until messages have to wait. Returns how many were sent. */
static uint32_t fill_socket(struct channel *server, const struct fdset *fds) {
        uint32_t n_sent = 0;
        int r;

        do
                r = send_assigned(server, n_sent++, fds);
        while (r == 0);
        assert_int_equal(r, CHANNEL_AGAIN);
        return n_sent;
}

static void check_assigned(struct channel *client, uint32_t pid, const struct fdset *fds) {
        struct proto_assigned assigned;
        struct message message;

        assert_int_equal(channel_receive(client, &message), 0);
        assert_int_equal(message.type, PROTO_ASSIGNED);
        assert_int_equal(proto_get_assigned(&message.payload, &assigned), 0);
        assert_int_equal(assigned.pid, pid);
        check_fds(&message, fds, fds->n_fds);
}

static void a_full_socket_keeps_order_and_fds(void **state) {
        _cleanup_ends_ struct ends ends;
        _cleanup_fdset_ struct fdset many = new_files(2), last = new_files(2), kept = { 0 };
        uint32_t n_sent;

        (void)state;
        ends_init(&ends);
        n_sent = fill_socket(ends.server, &many);
        for (size_t i = 0; i < last.n_fds; i++)
                fdset_push(&kept, fcntl(last.fds[i], F_DUPFD_CLOEXEC, 0));
        assert_int_equal(send_assigned(ends.server, n_sent, &last), CHANNEL_AGAIN);
        fdset_fini(&last); /* the channel has its own by now */
        for (uint32_t i = 0; i < n_sent; i++) {
                check_assigned(ends.client, i, &many);
                assert_in_range(channel_flush(ends.server), 0, CHANNEL_AGAIN);
        }
        check_assigned(ends.client, n_sent, &kept);
        assert_false(channel_is_flushing(ends.server));
        assert_int_equal(channel_flush(ends.server), 0);
}

/* The teardown sees that the duplicates that waited are closed. */
static void freeing_drops_what_waits(void **state) {
        _cleanup_ends_ struct ends ends;
        _cleanup_fdset_ struct fdset fds = new_files(2);

        (void)state;
        ends_init(&ends);
        fill_socket(ends.server, &fds);
        for (uint32_t i = 0; i < 10; i++)
                assert_int_equal(send_assigned(ends.server, i, &fds), CHANNEL_AGAIN);
}

/* A message whose fds cannot be kept is not sent without them later. */
static void no_room_to_keep_the_fds(void **state) {
        _cleanup_ends_ struct ends ends;
        _cleanup_fdset_ struct fdset fds = new_files(2);
        unsigned long old_limit;
        uint32_t n_sent;
        struct message message;
        int r;

        (void)state;
        ends_init(&ends);
        assert_int_equal(fd_set_nonblock(ends.raw, true), 0);
        n_sent = fill_socket(ends.server, &fds);
        old_limit = unit_limit_fds(3);
        r = send_assigned(ends.server, n_sent, &fds);
        unit_limit_fds(old_limit);
        assert_int_equal(r, -EMFILE);
        for (uint32_t i = 0; i < n_sent; i++) {
                check_assigned(ends.client, i, &fds);
                assert_in_range(channel_flush(ends.server), 0, CHANNEL_AGAIN);
        }
        assert_int_equal(channel_receive(ends.client, &message), CHANNEL_AGAIN);
}

static void sending_to_a_closed_peer(void **state) {
        _cleanup_ends_ struct ends ends;

        (void)state;
        ends_init(&ends);
        ends.server = channel_free(ends.server);
        assert_int_equal(send_status(ends.client, 0), -EPIPE); /* and no SIGPIPE */
}

static void flushing_to_a_closed_peer(void **state) {
        _cleanup_ends_ struct ends ends;
        _cleanup_fdset_ struct fdset fds = new_files(2);

        (void)state;
        ends_init(&ends);
        fill_socket(ends.server, &fds);
        ends.client = channel_free(ends.client);
        assert_true(channel_flush(ends.server) < 0);
}

static void what_may_not_be_sent_is_not(void **state) {
        _cleanup_ends_ struct ends ends;
        _cleanup_fdset_ struct fdset fds = new_files(2);
        _cleanup_writer_ struct wire_writer large = { 0 };
        struct wire_writer failed = { .error = -ENOMEM };
        struct message message;

        (void)state;
        ends_init(&ends);
        put_run(&large, 16000000);
        for (int i = 0; i < 200000; i++)
                wire_put_u32(&large, 0);
        assert_int_equal(channel_send(ends.client, PROTO_STATUS, &failed, NULL), -ENOMEM);
        assert_int_equal(send_assigned(ends.client, 1, &fds), -EMSGSIZE); /* not a client's message */
        assert_int_equal(send_assigned(ends.server, 1, NULL), -EMSGSIZE); /* too few fds */
        assert_int_equal(channel_send(ends.client, PROTO_RUN, &large, &fds), -EMSGSIZE);
        assert_int_equal(channel_send(ends.client, (enum proto_type)0, &large, NULL), -EMSGSIZE);
        assert_false(channel_is_flushing(ends.client));
        assert_int_equal(channel_receive(ends.server, &message), CHANNEL_AGAIN);
        assert_int_equal(send_status(ends.client, 3), 0);
        assert_int_equal(channel_read(ends.server), 0);
        check_status(ends.server, 3);
}

/* What the caller steals is its own; the rest goes with the message. */
static void stolen_fds_outlive_the_message(void **state) {
        _cleanup_ends_ struct ends ends;
        _cleanup_fdset_ struct fdset fds = new_files(3);
        _cleanup_writer_ struct wire_writer run = { 0 };
        struct message message;
        int other, stolen;

        (void)state;
        ends_init(&ends);
        put_run(&run, 100);
        assert_int_equal(channel_send(ends.client, PROTO_RUN, &run, &fds), 0);
        assert_int_equal(channel_receive(ends.server, &message), 0);
        other = message.fds.fds[0];
        stolen = fdset_steal(&message.fds, 1);
        message_fini(&message);
        assert_false(unit_fd_is_open(other));
        assert_true(unit_same_file(stolen, fds.fds[1]));
        fd_close(stolen);
}

/* The worker's control connection becomes nobody's, the client's goes on: the socket survives its channel. */
static void releasing_keeps_the_socket(void **state) {
        _cleanup_ends_ struct ends ends;
        _cleanup_fdset_ struct fdset fds = new_files(2);
        int fd;

        (void)state;
        ends_init(&ends);
        send_header(ends.raw, (struct proto_header){ PROTO_VERSION, PROTO_RUN, 10, 2 }, &fds);
        assert_int_equal(channel_read(ends.server), 0);
        fd = channel_fd(ends.server);
        assert_int_equal(channel_release(ends.server), fd);
        ends.server = channel_new(fd, PROTO_SERVER, PROTO_CLIENT);
        assert_int_equal(send_status(ends.client, 5), 0);
        assert_int_equal(channel_read(ends.server), 0);
        check_status(ends.server, 5);
}

/* Messages of all sizes around that of a read, one behind the other. */
static void sizes_around_that_of_a_read(void **state) {
        _cleanup_ends_ struct ends ends;

        (void)state;
        ends_init(&ends);
        for (size_t env_bytes = 15900; env_bytes <= 16700; env_bytes += 100) {
                _cleanup_fdset_ struct fdset fds = new_files(2);
                _cleanup_writer_ struct wire_writer run = { 0 };
                struct message message;

                put_run(&run, env_bytes);
                assert_int_equal(send_status(ends.client, 1), 0);
                assert_int_equal(channel_send(ends.client, PROTO_RUN, &run, &fds), 0);
                assert_int_equal(send_status(ends.client, 2), 0);
                for (int i = 0; i < 3; i++) {
                        assert_int_equal(channel_receive(ends.server, &message), 0);
                        assert_int_equal(message.type, i == 1 ? PROTO_RUN : PROTO_STATUS);
                        if (i == 1)
                                check_run(&message, &run);
                        check_fds(&message, &fds, i == 1 ? 2 : 0);
                }
        }
}

/* The same for what a client is answered, of which it reads less at once. */
static void answers_around_the_size_of_a_read(void **state) {
        char detail[4096];

        (void)state;
        for (size_t n = 900; n < sizeof(detail); n += n < 1100 ? 1 : 999) {
                _cleanup_ends_ struct ends ends;
                const size_t lengths[] = { 1, n, n, 2 };

                ends_init(&ends);
                memset(detail, 'x', n);
                for (size_t i = 0; i < 4; i++) {
                        const struct proto_refused refused = { .reason = "", .detail = detail, .python = "" };
                        _cleanup_writer_ struct wire_writer payload = { 0 };

                        detail[lengths[i]] = '\0';
                        proto_put_refused(&payload, &refused);
                        detail[lengths[i]] = 'x';
                        assert_int_equal(channel_send(ends.server, PROTO_REFUSED, &payload, NULL), 0);
                }
                for (size_t i = 0; i < 4; i++) {
                        struct proto_refused refused;
                        struct message message;

                        assert_int_equal(channel_receive(ends.client, &message), 0);
                        assert_int_equal(proto_get_refused(&message.payload, &refused), 0);
                        assert_int_equal(strlen(refused.detail), lengths[i]);
                        if (i % 2)
                                channel_trim(ends.client);
                }
        }
}

static uint32_t next_random(uint32_t *seed) {
        *seed = *seed * UINT32_C(1664525) + UINT32_C(1013904223);
        return *seed >> 8;
}

/* A good message of which a few bytes were changed, in pieces, with fds here and there. */
static void send_mangled(int fd, uint32_t *seed, const struct fdset *fds) {
        uint8_t bytes[PROTO_HEADER_BYTES + 100] = { 0 };
        size_t n_bytes, n_sent = 0;

        proto_header_write(&(struct proto_header){ PROTO_VERSION, (uint16_t)(next_random(seed) % 20),
                                                   next_random(seed) % 100, next_random(seed) % 4 },
                           bytes);
        for (uint32_t i = next_random(seed) % 4; i > 0; i--)
                bytes[next_random(seed) % sizeof(bytes)] = (uint8_t)next_random(seed);
        n_bytes = next_random(seed) % (sizeof(bytes) + 1);
        while (n_sent < n_bytes) {
                size_t n = 1 + next_random(seed) % (n_bytes - n_sent);

                send_raw(fd, bytes + n_sent, n, next_random(seed) % 3 ? NULL : fds);
                n_sent += n;
        }
}

/* Nothing but the documented results, no fd lost, and a sanitizer has nothing to say. */
static void garbage(void **state) {
        uint32_t seed = 1;

        (void)state;
        for (int round = 0; round < 5000; round++) {
                _cleanup_ends_ struct ends ends;
                _cleanup_fdset_ struct fdset fds = new_files(next_random(&seed) % 3);
                struct message message;
                int r;

                ends_init(&ends);
                for (int i = 0; i < 3; i++)
                        send_mangled(ends.raw, &seed, &fds);
                while ((r = channel_receive(ends.server, &message)) == 0)
                        message_fini(&message);
                assert_true(r == CHANNEL_AGAIN || r == -EPROTO || r == -EPROTONOSUPPORT);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                UNIT_TEST(a_whole_message_with_fds),
                UNIT_TEST(as_many_fds_as_the_kernel_carries),
                UNIT_TEST(one_byte_at_a_time),
                UNIT_TEST(several_messages_in_one_read),
                UNIT_TEST(cut_anywhere),
                UNIT_TEST(fds_go_with_their_message),
                UNIT_TEST(two_messages_full_of_fds),
                UNIT_TEST(fewer_fds_than_announced),
                UNIT_TEST(more_fds_than_announced),
                UNIT_TEST(fds_that_no_message_announced),
                UNIT_TEST(fds_with_every_byte),
                UNIT_TEST(no_room_for_the_fds),
                UNIT_TEST(headers_against_the_rules),
                UNIT_TEST(wrong_magic),
                UNIT_TEST(refused_is_read_in_any_version),
                UNIT_TEST(the_largest_payload_there_is),
                UNIT_TEST(the_end_in_the_midst_of_a_message),
                UNIT_TEST(the_end_behind_a_message),
                UNIT_TEST(a_large_environment_through_a_socket_that_does_not_block),
                UNIT_TEST(a_large_environment_between_processes),
                UNIT_TEST(a_full_socket_keeps_order_and_fds),
                UNIT_TEST(freeing_drops_what_waits),
                UNIT_TEST(no_room_to_keep_the_fds),
                UNIT_TEST(sending_to_a_closed_peer),
                UNIT_TEST(flushing_to_a_closed_peer),
                UNIT_TEST(what_may_not_be_sent_is_not),
                UNIT_TEST(stolen_fds_outlive_the_message),
                UNIT_TEST(releasing_keeps_the_socket),
                UNIT_TEST(sizes_around_that_of_a_read),
                UNIT_TEST(answers_around_the_size_of_a_read),
                UNIT_TEST(garbage),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
