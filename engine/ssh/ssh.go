// Package ssh finds the ensync server on a machine that ssh reaches, and the command that reaches it again.
//
// ssh itself does the rest, as its configuration says: it finds the host, proves who is who, and asks for passwords on
// the terminal.
package ssh

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Target is a place on another machine.
type Target struct {
	Host string // as ssh takes it: HOST or USER@HOST
	Port string // "": what ssh's configuration says
	Path string // absolute, or from the home directory there; "": where the server there serves
}

// Parse reads ssh://[USER@]HOST[:PORT]/PATH, in which /~/ stands for the home directory, or [USER@]HOST:PATH. An IPv6
// address stands in brackets.
func Parse(remote string) (Target, error) {
	t, err := parse(remote)
	if err == nil {
		err = t.check()
	}
	if err != nil {
		return Target{}, fmt.Errorf("%q: %w; write USER@HOST:PATH or ssh://USER@HOST:PORT/PATH", remote, err)
	}
	return t, nil
}

func parse(remote string) (Target, error) {
	rest, isURL := strings.CutPrefix(remote, "ssh://")
	host, path, err := cutHost(rest, isURL)
	if err != nil {
		return Target{}, err
	}
	t := Target{Host: host, Path: path}
	if !isURL {
		if t.Path, err = fromHome(path); err != nil {
			return Target{}, err
		}
		return t, nil
	}
	if colon := strings.LastIndexByte(host, ':'); colon > strings.LastIndexByte(host, ']') {
		t.Host, t.Port = host[:colon], host[colon+1:]
		if n, err := strconv.ParseUint(t.Port, 10, 16); err != nil || n == 0 {
			return Target{}, fmt.Errorf("port %q is no number from 1 to 65535", t.Port)
		}
	}
	if strings.HasPrefix(path, "/~") {
		t.Path, err = fromHome(path[1:])
	}
	t.Host = unbracket(t.Host)
	return t, err
}

// cutHost splits HOST:PATH, or HOST/PATH of a URL, whose path keeps its slash.
func cutHost(rest string, isURL bool) (host, path string, err error) {
	if isURL {
		if slash := strings.IndexByte(rest, '/'); slash >= 0 {
			return rest[:slash], rest[slash:], nil
		}
		return rest, "", nil
	}
	from := 0
	if open := strings.IndexByte(rest, '['); open == 0 || open > 0 && rest[open-1] == '@' {
		from = max(0, strings.IndexByte(rest, ']'))
	}
	colon := strings.IndexByte(rest[from:], ':')
	if colon < 0 {
		return "", "", errors.New("no colon after the host")
	}
	return unbracket(rest[:from+colon]), rest[from+colon+1:], nil
}

// unbracket turns USER@[ADDRESS] into what ssh takes.
func unbracket(host string) string {
	return strings.NewReplacer("[", "", "]", "").Replace(host)
}

// fromHome turns ~/PATH into PATH: that is where ssh starts.
func fromHome(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, "~")
	switch {
	case !ok:
		return path, nil
	case rest == "":
		return ".", nil
	case rest[0] == '/':
		return strings.TrimLeft(rest, "/"), nil
	}
	return "", fmt.Errorf("%s: homes of other users can't be named like this", path)
}

// check refuses what ssh would take for something else than a host.
func (t Target) check() error {
	_, name, found := strings.Cut(t.Host, "@")
	if !found {
		name = t.Host
	}
	switch {
	case name == "" || found && strings.HasPrefix(t.Host, "@"):
		return errors.New("the host or the user is empty")
	case strings.HasPrefix(t.Host, "-"):
		return errors.New("a host can't start with -")
	case strings.ContainsFunc(t.Host, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return errors.New("the host holds a space or a control character")
	case strings.ContainsAny(t.Path, "\x00\n\r"):
		return errors.New("the path holds a control character")
	}
	return nil
}

// String is how messages name the target.
func (t Target) String() string {
	host := t.Host
	if t.Port != "" {
		host += " port " + t.Port
	}
	if t.Path == "" {
		return host
	}
	return t.Path + " on " + host
}

// args are the arguments of ssh for running command there; "" is what the login shell does by itself.
func (t Target) args(command string) []string {
	args := []string{"-T"}
	if t.Port != "" {
		args = append(args, "-p", t.Port)
	}
	args = append(args, t.Host)
	if command != "" {
		args = append(args, command)
	}
	return args
}

// Command is the line for /bin/sh that serves the target by a program there; "" is a login shell that is a server.
func (t Target) Command(program string) string {
	line := "ssh"
	for _, arg := range t.args("") {
		line += " " + Quote(arg)
	}
	if program != "" {
		// These go through a second shell, on the other side.
		for _, arg := range t.server(program) {
			line += " " + Quote(Quote(arg))
		}
	}
	return line
}

// server is the command line of the server there.
func (t Target) server(program string) []string {
	path := t.Path
	if strings.HasPrefix(path, "-") {
		path = "./" + path
	}
	return []string{program, "server", path}
}

// Quote makes text one word of a POSIX shell.
func Quote(text string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("./:@-_", r)
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'"'"'`) + "'"
}
