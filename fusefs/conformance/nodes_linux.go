package conformance

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// nodes makes what is neither file nor directory nor symlink.
func nodes(b *bench) {
	b.ok(unix.Mkfifo(b.at("fifo"), 0644))
	b.gives("a fifo without reader, for writing", open(b.at("fifo"), unix.O_WRONLY|unix.O_NONBLOCK), unix.ENXIO)
	done := make(chan error, 1)
	go func() { done <- os.WriteFile(b.at("fifo"), []byte("through"), 0) }()
	text, err := os.ReadFile(b.at("fifo"))
	if string(text) != "through" || err != nil {
		b.Errorf("a fifo: %q, %v", text, err)
	}
	b.gives("a fifo", <-done, nil)
	b.gives("seek in a fifo", second(unix.Seek(b.open("fifo", unix.O_RDWR), 0, 1)), unix.ESPIPE)
	socket(b)

	b.gives("mknod of a file", unix.Mknod(b.at("file"), unix.S_IFREG|0640, 0), nil)
	b.holds("file", "")
	b.gives("mknod of a file without type", unix.Mknod(b.at("file2"), 0640, 0), nil)
	b.gives("mknod of a directory", unix.Mknod(b.at("dir"), unix.S_IFDIR|0755, 0), unix.EPERM)
	devices := map[string]uint32{"null": unix.S_IFCHR, "disk": unix.S_IFBLK}
	for name, kind := range devices {
		number := unix.Mkdev(1, 3)
		err := unix.Mknod(b.at(name), kind|0600, int(number))
		if os.Getuid() != 0 {
			b.gives("mknod of a device by a user", err, unix.EPERM)
			continue
		}
		b.gives("mknod of a device", err, nil)
		if st := b.stat(name); st.Rdev != number || st.Mode != kind|0600 || st.Size != 0 {
			b.Errorf("a device: %+v", st)
		}
		b.ok(os.Rename(b.at(name), b.at("moved")))
		b.ok(os.Remove(b.at("moved")))
	}
}

// socket talks through a socket, by a relative path: an absolute one may be too long for it.
func socket(b *bench) {
	fd := b.open(".", unix.O_DIRECTORY)
	path := fdPath(fd) + "/s"
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	b.ok(err)
	defer l.Close()
	if mode := b.stat("s").Mode & unix.S_IFMT; mode != unix.S_IFSOCK {
		b.Errorf("a socket has type %o", mode)
	}
	b.gives("open of a socket", open(b.at("s"), unix.O_RDWR), unix.ENXIO)
	_, err = net.ListenUnix("unix", &net.UnixAddr{Name: path})
	b.gives("a socket that is there", err, unix.EADDRINUSE)
	go func() {
		if c, err := l.Accept(); err == nil {
			io.WriteString(c, "through")
			c.Close()
		}
	}()
	c, err := net.Dial("unix", path)
	b.ok(err)
	defer c.Close()
	if text, err := io.ReadAll(c); string(text) != "through" || err != nil {
		b.Errorf("a socket: %q, %v", text, err)
	}
}

// programs runs some from the directory.
func programs(b *bench) {
	source, err := exec.LookPath("sleep")
	b.ok(err)
	text, err := os.ReadFile(source)
	b.ok(err)
	program := b.at("program")
	b.ok(os.WriteFile(program, text, 0755))
	cmd := exec.Command(program, "100")
	if err := cmd.Start(); err != nil {
		b.Skipf("nothing can be run from here: %v", err)
	}
	b.gives("writing to a program that runs", open(program, unix.O_WRONLY), unix.ETXTBSY)
	b.gives("truncating a program that runs", unix.Truncate(program, 0), unix.ETXTBSY)
	b.ok(os.Rename(program, b.at("moved")))
	b.ok(os.Remove(b.at("moved")))
	b.ok(cmd.Process.Kill())
	cmd.Wait()

	b.ok(os.WriteFile(program, text, 0755))
	fd := b.open("program", unix.O_WRONLY)
	b.gives("running a program that is written to", exec.Command(program, "0").Run(), unix.ETXTBSY)
	b.close(fd)
	b.gives("running it", exec.Command(program, "0").Run(), nil)
	b.ok(os.Chmod(program, 0644))
	b.gives("running what may not be", exec.Command(program, "0").Run(), unix.EACCES)
	b.gives("may it be run?", unix.Access(program, unix.X_OK), unix.EACCES)

	b.ok(os.WriteFile(b.at("script"), []byte("#!/bin/sh\npwd -P; echo $0 $1\n"), 0755))
	sub, err := filepath.EvalSymlinks(b.mkdir("sub"))
	b.ok(err)
	script := exec.Command(b.at("script"), "argument")
	script.Dir = sub
	out, err := script.CombinedOutput()
	if want := fmt.Sprintf("%s\n%s argument\n", sub, b.at("script")); string(out) != want || err != nil {
		b.Errorf("a script says %q, %v; want %q", out, err, want)
	}
}

// changedRoot makes the directory the root of a thread.
func changedRoot(b *bench) {
	b.file("file", "content")
	b.mkdir("sub")
	b.ok(os.Symlink("/file", b.at("sub/absolute")))
	b.ok(os.Symlink("../../../../file", b.at("sub/above")))
	result := make(chan []error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this function
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			result <- []error{err}
			return
		}
		result <- []error{
			unix.Chroot(b.dir), unix.Chdir("/sub"),
			contains("/file"), contains("/../../file"), contains("absolute"), contains("above"),
			unix.Mkdir("/made", 0755),
		}
	}()
	for i, err := range <-result {
		b.gives(fmt.Sprint("step ", i, " in another root"), err, nil)
	}
	b.links("made in another root", "made", 2)
}

func contains(path string) error {
	text, err := os.ReadFile(path)
	if err == nil && !bytes.Equal(text, []byte("content")) {
		err = fmt.Errorf("%s holds %q", path, text)
	}
	return err
}
