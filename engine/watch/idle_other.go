//go:build !linux

package watch

import "time"

// beIdle returns a clock: the time that a walk takes is taken for the processor's.
func beIdle() (spent func() time.Duration) {
	begin := time.Now()
	return func() time.Duration { return time.Since(begin) }
}
