package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
)

// Address is where a store lies, as it stands in config.toml. The S3 values are for an s3: server, and may be empty.
type Address struct {
	Server                    string // as ParseServer reads
	S3Region, S3CA, S3Profile string
}

// Move makes another address that of the store in the config.toml of a directory. All else, comments too, stays as it is.
// The file is replaced as a whole, durably; a symbolic link is followed. Where the text is written in a way that can't be
// changed like this, nothing is, and the error says what to write by hand.
func Move(dir string, to Address) error {
	file := filepath.Join(dir, FileName)
	was, err := Load(dir)
	if err != nil {
		return err
	}
	text, err := read(file)
	if err != nil {
		return fmt.Errorf("config %s: %w", file, err)
	}
	next := moved(string(text), to)
	if err := onlyMoved(was, next, to); err != nil {
		return fmt.Errorf("config %s: %w; nothing was changed: in the table [general], write by hand server = %s", file, err, quote(to.Server))
	}
	if err := replace(file, []byte(next)); err != nil {
		return fmt.Errorf("config %s: %w", file, unwrapPath(err))
	}
	return nil
}

var (
	tableLine  = regexp.MustCompile(`^\s*\[+\s*([A-Za-z0-9_.]+)\s*\]+\s*(#.*)?$`)
	serverLine = regexp.MustCompile(`^(\s*server\s*=\s*)("(?:[^"\\]|\\.)*"|'[^']*')(\s*(?:#.*)?)$`)
)

// moved is text with another address. Values of [s3] belong to the old one, and become comments.
func moved(text string, to Address) string {
	lines := strings.SplitAfter(text, "\n")
	table, done := "", false
	for i, line := range lines {
		body := strings.TrimRight(line, "\r\n")
		if m := tableLine.FindStringSubmatch(body); m != nil {
			table = m[1]
		}
		switch m := serverLine.FindStringSubmatch(body); {
		case table == "general" && m != nil && !done:
			lines[i] = m[1] + quote(to.Server) + m[3] + line[len(body):]
			done = true
		case table == "s3" && strings.TrimSpace(body) != "" && !strings.HasPrefix(strings.TrimSpace(body), "#"):
			lines[i] = "# " + line
		}
	}
	text = strings.Join(lines, "")
	values := [][2]string{{"region", to.S3Region}, {"profile", to.S3Profile}, {"ca", to.S3CA}}
	added := ""
	for _, v := range values {
		if v[1] != "" {
			added += v[0] + " = " + quote(v[1]) + "\n"
		}
	}
	if added == "" {
		return text
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + "\n[s3]\n" + added
}

// onlyMoved makes sure that a text means what the configuration was, with another address.
func onlyMoved(was *Config, next string, to Address) error {
	now, err := Parse(was.Dir, []byte(next))
	if err != nil {
		return errors.Join(errors.New("it can't be changed by a program"), err)
	}
	want, err := ParseServer(to.Server, was.Dir)
	if err != nil {
		return err
	}
	want.S3.Region, want.S3.CA, want.S3.Profile = to.S3Region, to.S3CA, to.S3Profile
	if now.General.Server != want {
		return errors.New("the line with server was not found")
	}
	then, general := *was, was.General
	then.Hash, general.Server = now.Hash, want
	then.General, then.Rules = general, nil
	same := was.Rules.Fingerprint() == now.Rules.Fingerprint()
	if now.Rules = nil; !same || !reflect.DeepEqual(&then, now) {
		return errors.New("more than the address would change")
	}
	return nil
}

// replace makes a file have another content, whole and durably, with the permissions that it has.
func replace(file string, text []byte) error {
	file, err := filepath.EvalSymlinks(file)
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	temporary, err := writeBeside(file, text, info.Mode().Perm())
	defer os.Remove(temporary)
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, file); err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}
