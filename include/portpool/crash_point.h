// Places where a test can let a process die or stop (tests/fault/crash): nothing, not even a name,
// is left of them but in the library and the poold that are built for these tests.
#pragma once

#ifdef PORTPOOL_CRASH_POINTS
namespace portpool {
void pass_crash_point(const char* name);
}
#define PORTPOOL_CRASH_POINT(name) ::portpool::pass_crash_point(#name)
#else
#define PORTPOOL_CRASH_POINT(name) static_cast<void>(0)
#endif
