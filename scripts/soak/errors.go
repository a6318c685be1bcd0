package main

import "syscall"

// What a file system answers to an edit that makes no sense there.
const (
	errNotDir   = syscall.ENOTDIR
	errIsDir    = syscall.EISDIR
	errNotEmpty = syscall.ENOTEMPTY
	errInvalid  = syscall.EINVAL // a directory into itself
)
