package main

import "golang.org/x/sys/unix"

// hideMemory keeps other processes of the same user from reading our memory, environment and descriptors.
func hideMemory() { unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }
