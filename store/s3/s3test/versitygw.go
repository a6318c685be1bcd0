package s3test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// VersitygwVariable names the program of a real server for the tests that want one; see "make test-s3".
const VersitygwVariable = "ENSYNC_VERSITYGW"

// Versitygw is a real S3 server, a process that keeps buckets in a directory. It ends with the test.
type Versitygw struct {
	Endpoint string // host and port

	t       testing.TB
	program string
	dir     string
	cmd     *exec.Cmd
}

// StartVersitygw starts a server with the bucket Bucket, or skips the test if there is no program.
func StartVersitygw(t testing.TB) *Versitygw {
	program := os.Getenv(VersitygwVariable)
	if program == "" {
		t.Skip("no real server; make test-s3 brings one")
	}
	v := &Versitygw{Endpoint: freePort(t), t: t, program: program, dir: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(v.dir, "data", Bucket), 0o700); err != nil {
		t.Fatal(err)
	}
	v.Start()
	t.Cleanup(v.Kill)
	return v
}

func freePort(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Start starts the server, at the same place as before.
func (v *Versitygw) Start() {
	v.cmd = exec.Command(v.program, "-q", "--port", v.Endpoint, "posix", filepath.Join(v.dir, "data"))
	v.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+ID, "ROOT_SECRET_KEY="+Secret)
	v.cmd.Dir = v.dir
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C is for the test, which then ends it
	log, err := os.OpenFile(filepath.Join(v.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		v.t.Fatal(err)
	}
	defer log.Close()
	v.cmd.Stdout, v.cmd.Stderr = log, log
	if err := v.cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", v.Endpoint)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(end) {
			said, _ := os.ReadFile(log.Name())
			v.t.Fatal(fmt.Errorf("versitygw does not listen: %w\n%s", err, said))
		}
	}
}

// Kill ends the server at once, as a power failure would.
func (v *Versitygw) Kill() {
	if v.cmd != nil {
		v.cmd.Process.Kill()
		v.cmd.Wait()
		v.cmd = nil
	}
}
