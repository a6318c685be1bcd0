package watch

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// beIdle gives the calling goroutine a thread of its own, of the lowest priority for processor and disk, for the rest of
// its life. It returns what tells the processor time of that thread.
func beIdle() (spent func() time.Duration) {
	runtime.LockOSThread()
	// Priorities are a courtesy: where they can't be had, it goes on without.
	unix.Setpriority(unix.PRIO_PROCESS, 0, 19) // of the thread, on Linux
	const whoProcess, classIdle = 1, 3 << 13
	unix.Syscall(unix.SYS_IOPRIO_SET, whoProcess, 0, classIdle)
	return func() time.Duration {
		var u unix.Rusage
		if unix.Getrusage(unix.RUSAGE_THREAD, &u) != nil {
			return 0
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
}
