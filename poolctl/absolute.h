#pragma once

/* @path as seen from any folder; links in it are left alone. Returns a new string, or NULL and errno. */
char *absolute(const char *path);
