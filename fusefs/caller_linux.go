package fusefs

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// harmless are the signals that do not end a process that has no handler for them (signal(7)).
const harmless = 1<<(unix.SIGCHLD-1) | 1<<(unix.SIGCONT-1) | 1<<(unix.SIGURG-1) | 1<<(unix.SIGWINCH-1) |
	1<<(unix.SIGSTOP-1) | 1<<(unix.SIGTSTP-1) | 1<<(unix.SIGTTIN-1) | 1<<(unix.SIGTTOU-1)

// dying reports whether a signal waits for a thread, as proc(5) tells, that will end it.
func dying(pid uint32) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return pid != 0 && os.IsNotExist(err) // 0: of a pid namespace that we do not see
	}
	pending := signals(status, "SigPnd") | signals(status, "ShdPnd")
	survived := signals(status, "SigBlk") | signals(status, "SigIgn") | signals(status, "SigCgt") | harmless
	return pending&^survived != 0
}

// gone reports whether a thread has ended. A caller of a pid namespace that we do not see has not, as far as we know.
func gone(pid uint32) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return pid != 0 && os.IsNotExist(err)
}

// inGroup reports whether a thread is in a group that is not its own one. Who cannot be asked is not.
func inGroup(pid, gid uint32) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(status, []byte("\nGroups:\t"))
	list, _, _ := bytes.Cut(rest, []byte("\n"))
	return slices.Contains(strings.Fields(string(list)), strconv.FormatUint(uint64(gid), 10))
}

func signals(status []byte, field string) uint64 {
	_, rest, _ := bytes.Cut(status, []byte("\n"+field+":\t"))
	hex, _, _ := bytes.Cut(rest, []byte("\n"))
	set, err := strconv.ParseUint(string(hex), 16, 64)
	if err != nil {
		return 0
	}
	return set
}
