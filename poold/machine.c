#include "machine.h"

#include <stdlib.h>

#include "cpus.h"
#include "pressure.h"

struct machine {
        struct pool_machine view; /* first: a pool_machine is a machine */
        struct cpus *cpus;
        struct pressure *pressure;
        struct loop_source *pressure_source;
        void (*changed)(void *data);
        void *data;
};

static void on_pressure(void *data, unsigned events) {
        struct machine *machine = data;

        (void)events;
        pressure_notice(machine->pressure, loop_now_usec());
        if (pressure_fd(machine->pressure) < 0)
                machine->pressure_source = loop_source_free(machine->pressure_source);
        machine->changed(machine->data);
}

struct machine *machine_new(struct loop *loop, void (*changed)(void *data), void *data) {
        struct machine *machine = calloc(1, sizeof(*machine));

        if (!machine)
                return NULL;
        machine->changed = changed;
        machine->data = data;
        machine->cpus = cpus_new("/proc/stat");
        machine->pressure = pressure_new(&(struct pressure_paths){ "/proc/pressure/memory", "/proc/meminfo" });
        if (!machine->cpus || !machine->pressure)
                return machine_free(machine);
        if (pressure_fd(machine->pressure) >= 0) {
                machine->pressure_source =
                        loop_add_fd(loop, pressure_fd(machine->pressure), LOOP_READ, on_pressure, machine);
                if (!machine->pressure_source)
                        return machine_free(machine);
        }
        return machine;
}

struct machine *machine_free(struct machine *machine) {
        if (!machine)
                return NULL;
        loop_source_free(machine->pressure_source);
        pressure_free(machine->pressure);
        cpus_free(machine->cpus);
        free(machine);
        return NULL;
}

static bool take_idle_cpu(struct pool_machine *view, uint64_t now_usec) {
        return cpus_take_idle(((struct machine *)view)->cpus, now_usec);
}

struct pool_machine *machine_look(struct machine *machine, uint32_t n_runs, uint64_t now_usec) {
        pressure_look(machine->pressure, now_usec);
        machine->view = (struct pool_machine){
                .n_cpus = cpus_count(machine->cpus),
                .n_runs = n_runs,
                .memory_tight_until_usec = pressure_tight_until_usec(machine->pressure),
                .memory_scarce_until_usec = pressure_scarce_until_usec(machine->pressure),
                .memory_look_usec = pressure_next_look_usec(machine->pressure),
                .take_idle_cpu = take_idle_cpu,
        };
        return &machine->view;
}
