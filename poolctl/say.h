#pragma once

/* A line for the person at the prompt, on stderr and with one write(2): "poolctl: " and what @format makes. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
