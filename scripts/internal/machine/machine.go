// Package machine runs the real program as it would run on a machine of its own: with its own home, configuration,
// cache and runtime directory, but a store that it shares.
package machine

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// Machine is one machine of the user's.
type Machine struct {
	Name   string
	Local  string // its tree, or where its tree is mounted
	Config string
	binary string
	home   string
	key    string
	store  string
}

// Exit codes of the program.
const (
	OK      = 0
	Partial = 3
)

// New makes a machine below base; store may be there or not. All machines of one base have the same key file, long
// enough that stretching it costs nothing. local may be empty: then it is a new directory.
func New(binary, base, name, store, local string) (*Machine, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	m := &Machine{Name: name, Local: local, binary: binary, store: store,
		home: filepath.Join(base, name), key: filepath.Join(base, "key")}
	m.Config = filepath.Join(m.home, "config")
	if m.Local == "" {
		m.Local = filepath.Join(m.home, "tree")
	}
	for _, dir := range []string{m.runtimeDir(), m.cacheDir(), m.Local} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	return m, m.makeKey()
}

func (m *Machine) runtimeDir() string { return filepath.Join(m.home, "run") }
func (m *Machine) cacheDir() string   { return filepath.Join(m.home, "cache") }

func (m *Machine) makeKey() error {
	f, err := os.OpenFile(m.key, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	random := make([]byte, 128)
	if _, err := rand.Read(random); err != nil {
		return errors.Join(err, f.Close())
	}
	_, err = f.WriteString(hex.EncodeToString(random) + "\n")
	return errors.Join(err, f.Close())
}

// Setup makes the configuration, and the store if it is the first to.
func (m *Machine) Setup(ctx context.Context) error {
	_, err := m.Run(ctx, "setup", m.Config, m.Local, m.store, "--yes", "--key", "file:"+m.key, "--root", "root",
		"--compression", "default", "--mode", "conservative-sync")
	return err
}

// Manual makes a mount of this machine sync on request only.
func (m *Machine) Manual() error {
	path := filepath.Join(m.Config, "config.toml")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	const proposed = "# interval = \"30s\"\n"
	if bytes.Count(text, []byte(proposed)) != 1 {
		return fmt.Errorf("%s: has no line %q", path, proposed)
	}
	return os.WriteFile(path, bytes.Replace(text, []byte(proposed), []byte("interval = 0\n"), 1), 0o600)
}

// Command prepares a run of the program on this machine. It is killed when ctx ends.
func (m *Machine) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, m.binary, args...)
	cmd.Env = slices.Concat(os.Environ(), []string{"HOME=" + m.home, "XDG_CACHE_HOME=" + m.cacheDir(),
		"XDG_RUNTIME_DIR=" + m.runtimeDir(), "XDG_CONFIG_HOME=" + filepath.Join(m.home, "xdg"),
		"XDG_DATA_HOME=" + filepath.Join(m.home, "data"), "ENSYNC_CONFIG=" + m.Config})
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Usage is what a run took.
type Usage struct {
	Wall, CPU time.Duration
	Memory    int64 // the most that was resident, in bytes
}

// Run runs a command to its end. The error has what the command said.
func (m *Machine) Run(ctx context.Context, args ...string) (Usage, error) {
	cmd := m.Command(ctx, args...)
	begin := time.Now()
	said, err := cmd.CombinedOutput()
	use := UsageOf(cmd.ProcessState, time.Since(begin))
	if err != nil {
		err = &Failure{Machine: m.Name, Args: args, Code: cmd.ProcessState.ExitCode(), Said: string(said), cause: err}
	}
	return use, err
}

// Sync runs ensync sync.
func (m *Machine) Sync(ctx context.Context, flags ...string) (Usage, error) {
	return m.Run(ctx, append([]string{"sync", m.Config}, flags...)...)
}

// Failure is a command that did not exit with 0.
type Failure struct {
	Machine string
	Args    []string
	Code    int // -1: killed by a signal
	Said    string
	cause   error
}

func (f *Failure) Error() string {
	said := f.Said
	if len(said) > 4000 {
		said = said[:2000] + "\n...\n" + said[len(said)-2000:]
	}
	return fmt.Sprintf("ensync %q on %s: %v\n%s", f.Args, f.Machine, f.cause, said)
}

func (f *Failure) Unwrap() error { return f.cause }

// UsageOf reads what a finished process took. Linux counts in what the parent had at the fork, so a program that
// measures has to stay small itself.
func UsageOf(p *os.ProcessState, wall time.Duration) Usage {
	use := Usage{Wall: wall}
	if p == nil {
		return use
	}
	use.CPU = p.UserTime() + p.SystemTime()
	if r, ok := p.SysUsage().(*syscall.Rusage); ok {
		use.Memory = int64(r.Maxrss)
		if runtime.GOOS != "darwin" { // there it is in bytes, elsewhere in KiB
			use.Memory *= 1024
		}
	}
	return use
}
