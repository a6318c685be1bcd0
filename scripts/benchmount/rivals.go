//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// rival is a program of somebody else's.
type rival struct {
	name            string
	module, version string
	program         string // the package below the module
	tags            string
	// command is the program in the foreground, showing at root what it keeps in dir.
	command func(ctx context.Context, program, dir, root string) (*exec.Cmd, error)
	// settled reports whether everything is where the next mount finds it; nil: always.
	settled func(ctx context.Context, program, dir string) (bool, error)
}

var rivals = []rival{
	{
		name: "loopback", module: "github.com/hanwen/go-fuse/v2", version: "v2.12.1", program: "/example/loopback",
		command: func(ctx context.Context, program, dir, root string) (*exec.Cmd, error) {
			below := filepath.Join(dir, "below")
			return exec.Command(program, "-q", root, below), os.MkdirAll(below, 0o700)
		},
	},
	{
		name: "gocryptfs", module: "github.com/rfjakob/gocryptfs/v2", version: "v2.6.1", tags: "without_openssl",
		command: gocryptfs,
	},
	{
		name: "rclone", module: "github.com/rclone/rclone", version: "v1.76.0",
		command: rclone, settled: rcloneSettled,
	},
}

func gocryptfs(ctx context.Context, program, dir, root string) (*exec.Cmd, error) {
	below, pass := filepath.Join(dir, "below"), filepath.Join(dir, "pass")
	if _, err := os.Stat(below); err != nil {
		if err := os.Mkdir(below, 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(pass, []byte("a passphrase for a benchmark\n"), 0o600); err != nil {
			return nil, err
		}
		if err := system(program, "-q", "-init", "-scryptn", "10", "-passfile", pass, below); err != nil {
			return nil, err
		}
	}
	return exec.Command(program, "-q", "-fg", "-passfile", pass, below, root), nil
}

func rclone(ctx context.Context, program, dir, root string) (*exec.Cmd, error) {
	password, err := exec.CommandContext(ctx, program, "obscure", "a passphrase for a benchmark").Output()
	if err != nil {
		return nil, fmt.Errorf("rclone obscure: %w", err)
	}
	below := filepath.Join(dir, "below")
	cmd := exec.Command(program, "mount", "bench:", root, "--vfs-cache-mode", "full", "--cache-dir", filepath.Join(dir, "cache"),
		"--rc", "--rc-no-auth", "--rc-addr", "unix://"+filepath.Join(dir, "rc"),
		"--config", filepath.Join(dir, "rclone.conf"), "--log-level", "ERROR")
	cmd.Env = append(os.Environ(), "RCLONE_CONFIG_BENCH_TYPE=crypt", "RCLONE_CONFIG_BENCH_REMOTE="+below,
		"RCLONE_CONFIG_BENCH_PASSWORD="+strings.TrimSpace(string(password)))
	return cmd, os.MkdirAll(below, 0o700)
}

// rcloneSettled asks whether all was uploaded: a file that was not is missing after the next mount.
func rcloneSettled(ctx context.Context, program, dir string) (bool, error) {
	cmd := exec.CommandContext(ctx, program, "rc", "--unix-socket", filepath.Join(dir, "rc"), "vfs/stats")
	text, err := cmd.Output()
	if err != nil {
		return false, fmt.Errorf("rclone rc: %w", err)
	}
	var stats struct {
		DiskCache struct{ UploadsInProgress, UploadsQueued int }
	}
	err = json.Unmarshal(text, &stats)
	return stats.DiskCache.UploadsInProgress+stats.DiskCache.UploadsQueued == 0, err
}

// build returns the program, built from its module if it is not in the user's cache yet.
func (r rival) build(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "ensync-bench")
	program := filepath.Join(dir, r.name+"-"+r.version)
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	fmt.Printf("building %s %s, once\n", r.name, r.version)
	work, err := os.MkdirTemp("", "ensync-bench-build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	mod := fmt.Sprintf("module bench\n\ngo 1.25\n\nrequire %s %s\n", r.module, r.version)
	if err := os.WriteFile(filepath.Join(work, "go.mod"), []byte(mod), 0o644); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", r.tags, "-o", filepath.Join(work, "program"), r.module+r.program)
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOWORK=off")
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(said.String()), "\n")
		return "", fmt.Errorf("go build: %w: %s", err, lines[len(lines)-1])
	}
	return program, copyProgram(filepath.Join(work, "program"), program)
}

// copyProgram makes the program appear whole.
func copyProgram(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to+".new", b, 0o755); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}
