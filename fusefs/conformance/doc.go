// Package conformance asks a directory, call by call, whether it behaves as POSIX and Linux say. Any file system can be
// asked; ext4 and xfs give the answers that are expected here.
package conformance
