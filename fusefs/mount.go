//go:build linux || darwin || freebsd

package fusefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

const (
	maxWrite      = 1 << 20  // bytes in one READ or WRITE
	maxBackground = 64       // readahead and asynchronous requests under way
	maxInFlight   = 64 << 20 // bytes of all requests that were read and not yet answered

	// elsewhere is how long the kernel may have requests after the tree was unmounted. What still has some then is a copy of
	// the mount in another mount namespace, of a sandbox or a container: it may last for ever, and ends with this process.
	elsewhere = 2 * time.Second
)

// Server serves one mounted tree until it is unmounted, by Unmount or by anyone else. Its methods may be called
// concurrently.
type Server struct {
	mountPoint string
	kernel     *fuse.Server
	requests   *requests
	notices    *notifier
	done       chan struct{}
	device     uint64 // what the kernel calls it
}

// Mount mounts a tree and serves it in the background; when it returns the tree is usable. The context bounds the
// mounting only. The tree must stay open until the server is done.
func Mount(ctx context.Context, tree Tree, opt Options) (*Server, error) {
	mountPoint, err := checkMountPoint(ctx, opt.MountPoint)
	if err != nil {
		return nil, err
	}
	r := newRequests(tree, opt)
	kernel, err := mountKernel(mountPoint, r, mountOptions(r, opt))
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", mountPoint, err)
	}
	s := &Server{
		mountPoint: mountPoint,
		kernel:     kernel,
		requests:   r,
		notices:    newNotifier(kernel, tree, newReenactor(tree, &r.stage, mountPoint, opt.Reenact)),
		done:       make(chan struct{}),
	}
	go s.serve()
	if err := afterMount(mountPoint); err != nil {
		return nil, errors.Join(fmt.Errorf("mount %s: %w", mountPoint, err), s.Detach(ctx))
	}
	s.device = deviceAt(mountPoint)
	return s, nil
}

func (s *Server) serve() {
	defer close(s.done)
	defer s.notices.stop()
	go s.notices.run()
	s.kernel.Serve()
}

// MountPoint is where the tree is mounted, absolute and without symlinks.
func (s *Server) MountPoint() string { return s.mountPoint }

// Wait returns when the tree is unmounted and the last request answered.
func (s *Server) Wait() { <-s.done }

// Done is closed when Wait would return.
func (s *Server) Done() <-chan struct{} { return s.done }

// Stats counts the requests answered since mounting, by the kernel's name for them.
func (s *Server) Stats() map[string]uint64 { return s.requests.counts.snapshot() }

// Unmount unmounts the tree and waits for the last request, but not long: another mount namespace may have a copy of the
// mount, of which nobody knows how long it lasts. While something uses the mount it fails with ErrBusy, says who, as far as
// this process may know, and changes nothing.
func (s *Server) Unmount(ctx context.Context) error {
	return s.unmount(ctx, unmountNow)
}

// Detach takes the tree off its mount point at once, also while it is in use: whoever has a file open keeps it until the
// process ends. It does not wait for them.
func (s *Server) Detach(ctx context.Context) error {
	return s.unmount(ctx, unmountLazy)
}

type unmountMode int

const (
	unmountNow unmountMode = iota
	unmountLazy
)

func (s *Server) unmount(ctx context.Context, mode unmountMode) error {
	select {
	case <-s.done:
		return nil
	default:
	}
	result := make(chan error, 1)
	go func() {
		resume := s.notices.events.pause()
		defer resume()
		result <- s.takeOff(mode)
	}()
	select {
	case <-ctx.Done():
		return fmt.Errorf("unmount %s: %w", s.mountPoint, ctx.Err())
	case err := <-result:
		if errors.Is(err, ErrBusy) {
			err = fmt.Errorf("%w%s; close it and unmount again", err, describeHolders(s.mountPoint, s.device))
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", s.mountPoint, err)
		}
	}
	if mode == unmountLazy {
		return nil
	}
	select { // it is unmounted, and ctx calls nothing off any more
	case <-s.done:
	case <-time.After(elsewhere):
	}
	return nil
}

// takeOff unmounts the tree where it is mounted. If somebody else did, what is to be seen there is not ours to unmount.
func (s *Server) takeOff(mode unmountMode) error {
	at, err := placeOf(s.device, s.mountPoint)
	switch {
	case mode == unmountNow && err != nil:
		return err
	case at == "":
		return nil
	case mode == unmountNow:
		flush(at) // what is mapped in another mount namespace does not come with the unmount
	}
	return unmountPath(at, mode)
}

func mountOptions(r *requests, opt Options) *fuse.MountOptions {
	o := &fuse.MountOptions{
		Name:       "ensync",
		FsName:     opt.fsName(),
		AllowOther: opt.AllowOther,
		// Reading changes no times: what the kernel has read already is read again without asking us.
		Options:                 []string{"default_permissions", "noatime"},
		MaxWrite:                maxWrite,
		MaxBackground:           maxBackground,
		MaxInflightRequestBytes: maxInFlight,
		DisableSplice:           true, // what is read was decrypted in memory
		Debug:                   opt.Debug,
		Logger:                  log.New(io.Discard, "", 0),
		PanicHandler:            r.panicked,
		// The kernel's writeback cache would own sizes and times, and make closing a small file wait; passthrough would
		// hide writes.
		DisabledCapabilities: fuse.CAP_WRITEBACK_CACHE | fuse.CAP_PASSTHROUGH,
		ExtraCapabilities:    extraCapabilities,
	}
	if opt.Debug {
		o.Logger = log.New(os.Stderr, "fusefs: ", log.Lmicroseconds)
	}
	o.Options = append(o.Options, opt.MountOptions...)
	if opt.ReadOnly {
		o.Options = append(o.Options, "ro")
	}
	if !opt.NoCache {
		o.EnableSymlinkCaching = true
		o.ExplicitDataCacheControl = true
	}
	return o
}

// panicked answers a request whose handler panicked. The value of a panic may hold file names; one of the runtime itself
// holds numbers at most.
func (r *requests) panicked(value any) fuse.Status {
	what := fmt.Sprintf("%T", value)
	if e, ok := value.(runtime.Error); ok {
		what = e.Error()
	}
	err := fmt.Errorf("panic at %s: %s; the request failed with EIO", panicOrigin(), what)
	if r.opt.OnError != nil {
		r.opt.OnError("PANIC", 0, err)
	} else {
		log.Printf("fusefs: %v", err)
	}
	return fuse.EIO
}

// panicOrigin is the place that panicked, seen from the deferred call that recovers.
func panicOrigin() string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(0, pcs)])
	panicking := false
	for {
		f, more := frames.Next()
		inRuntime := strings.HasPrefix(f.Function, "runtime.")
		if f.Function == "runtime.gopanic" {
			panicking = true
		} else if panicking && !inRuntime {
			return fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)
		}
		if !more {
			return "unknown place"
		}
	}
}

// checkMountPoint wants an existing empty directory that nobody else mounted on, and clears what a dead process left.
func checkMountPoint(ctx context.Context, path string) (string, error) {
	if path == "" {
		return "", errors.New("mount: no mount point given; name an empty directory")
	}
	if _, err := ClearStale(ctx, path); err != nil {
		return "", err
	}
	abs, err := filepath.Abs(path)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return "", fmt.Errorf("mount %s: %w; create the directory first", path, err)
	}
	if mounted, err := ours(abs); err == nil && mounted {
		return "", fmt.Errorf("mount %s: something is mounted there already; unmount it first (ensync unmount %s)", path, path)
	}
	dir, err := os.Open(abs)
	if err != nil {
		return "", fmt.Errorf("mount %s: %w", path, err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(1)
	if len(names) > 0 {
		return "", fmt.Errorf("mount %s: the directory is not empty (it holds %q), and the mount would hide that; "+
			"choose an empty one", path, names[0])
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("mount %s: %w; name a directory", path, err)
	}
	return abs, nil
}
