package service

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// networkGroups are what the kernel tells of: addresses and routes.
const networkGroups = unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV6_ROUTE

// networkSettle is how long a change of the network goes on: an address comes before its routes. Tests make it shorter.
var networkSettle = time.Second

// networkChanges returns what gets a value after the network has changed, until ctx ends; nil if that can't be told.
func networkChanges(ctx context.Context) <-chan struct{} {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: networkGroups}); err != nil {
		unix.Close(fd)
		return nil
	}
	socket := os.NewFile(uintptr(fd), "netlink")
	context.AfterFunc(ctx, func() { socket.Close() })
	changed := make(chan struct{}, 1)
	go tellNetwork(ctx, socket, networkSettle, changed) // ends with ctx, which closes what it reads
	return changed
}

// tellNetwork waits for messages of the kernel, which it does not read: that there are any is the news.
func tellNetwork(ctx context.Context, socket *os.File, settle time.Duration, changed chan<- struct{}) {
	buf := make([]byte, 1<<16)
	for {
		// ENOBUFS says that there were too many.
		if _, err := socket.Read(buf); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		select {
		case <-time.After(settle):
		case <-ctx.Done():
			return
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}
