#include "machine.h"

#include <stdlib.h>

struct machine {
        struct pool_machine view;
};

struct machine *machine_new(struct loop *loop, void (*changed)(void *data), void *data) {
        (void)loop;
        (void)changed;
        (void)data;
        return calloc(1, sizeof(struct machine));
}

struct machine *machine_free(struct machine *machine) {
        free(machine);
        return NULL;
}

static bool take_idle_cpu(struct pool_machine *view, uint64_t now_usec) {
        (void)view;
        (void)now_usec;
        return false;
}

struct pool_machine *machine_look(struct machine *machine, uint32_t n_runs, uint64_t now_usec) {
        (void)now_usec;
        machine->view = (struct pool_machine){ .n_cpus = 1, .n_runs = n_runs, .take_idle_cpu = take_idle_cpu };
        return &machine->view;
}
