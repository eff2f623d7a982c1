#include "tell.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"

#define STATUS_USEC UINT64_C(1000000)

struct tell {
        const struct systemd *systemd;
        const struct pools *pools;
        struct loop_source *status_timer, *watchdog_timer;
        uint64_t quiet_until_usec;
        char told[128];
        bool pending, stopping;
};

static void plural(char *ret_text, size_t n_text, unsigned count, const char *noun) {
        snprintf(ret_text, n_text, "%u %s%s", count, noun, count == 1 ? "" : "s");
}

/* "3 of 4 workers ready in 2 pools, 1 script running". */
static void describe(const struct tell *tell, char *ret_text, size_t n_text) {
        uint32_t n_ready = pools_count_workers(tell->pools, POOL_IDLE), n_wanted = 0, n_pools = 0;
        char workers[32], pools[32], scripts[32];

        plural(scripts, sizeof(scripts), pools_count_workers(tell->pools, POOL_BUSY), "script");
        if (tell->stopping) {
                snprintf(ret_text, n_text, "stopping, %s running", scripts);
                return;
        }
        for (size_t i = 0; i < pools_count(tell->pools); i++) {
                const struct pool *policy = live_pool_policy(pools_at(tell->pools, i));

                if (pool_is_draining(policy))
                        continue;
                n_wanted += pool_size(policy);
                n_pools++;
        }
        plural(workers, sizeof(workers), n_wanted > n_ready ? n_wanted : n_ready, "worker");
        plural(pools, sizeof(pools), n_pools, "pool");
        snprintf(ret_text, n_text, "%u of %s ready in %s, %s running", n_ready, workers, pools, scripts);
}

static void tell_now(struct tell *tell) {
        char text[sizeof(tell->told)] = "";

        tell->pending = false;
        tell->quiet_until_usec = loop_now_usec() + STATUS_USEC;
        describe(tell, text, sizeof(text));
        if (strcmp(text, tell->told) == 0)
                return;
        memcpy(tell->told, text, sizeof(text));
        systemd_notify(tell->systemd, "STATUS=%s", text);
}

static void on_status_timer(void *data, unsigned events) {
        (void)events;
        tell_now(data);
}

/* Twice as often as it has to be. */
static void on_watchdog(void *data, unsigned events) {
        struct tell *tell = data;

        (void)events;
        systemd_notify(tell->systemd, "WATCHDOG=1");
        loop_set_deadline(tell->watchdog_timer, loop_now_usec() + tell->systemd->watchdog_usec / 2);
}

struct tell *tell_new(struct loop *loop, const struct systemd *systemd, const struct pools *pools) {
        struct tell *tell = calloc(1, sizeof(*tell));

        if (!tell)
                return NULL;
        tell->systemd = systemd;
        tell->pools = pools;
        tell->status_timer = loop_add_timer(loop, on_status_timer, tell);
        tell->watchdog_timer = loop_add_timer(loop, on_watchdog, tell);
        if (!tell->status_timer || !tell->watchdog_timer)
                return tell_free(tell);
        if (systemd_is_listening(systemd) && systemd->watchdog_usec)
                on_watchdog(tell, 0);
        return tell;
}

struct tell *tell_free(struct tell *tell) {
        if (!tell)
                return NULL;
        loop_source_free(tell->status_timer);
        loop_source_free(tell->watchdog_timer);
        free(tell);
        return NULL;
}

void tell_changed(struct tell *tell) {
        if (!systemd_is_listening(tell->systemd) || tell->pending)
                return;
        if (loop_now_usec() >= tell->quiet_until_usec) {
                tell_now(tell);
                return;
        }
        tell->pending = loop_set_deadline(tell->status_timer, tell->quiet_until_usec) == 0;
}

void tell_stopping(struct tell *tell) {
        tell->stopping = true;
        systemd_notify(tell->systemd, "STOPPING=1");
        tell->quiet_until_usec = 0;
        if (systemd_is_listening(tell->systemd))
                tell_now(tell);
}
