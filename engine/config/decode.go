package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"ensync/engine/internal/nearest"
	"ensync/engine/rules"
	"ensync/store/object"
)

// decode turns the decoded text into a Config. It collects all mistakes.
func decode(dir string, table map[string]any) (*Config, []error) {
	c := &Config{Dir: dir}
	d := &decoder{dir: dir}
	sections := map[string]func(*section){
		"general": func(s *section) { c.General = d.general(s) },
		"mount":   func(s *section) { c.Mount = d.mount(s) },
		"history": func(s *section) { c.History = d.history(s) },
		"s3":      func(s *section) { d.s3(s, &c.General.Server) }, // after general, by name
		"network": func(s *section) { c.Network = d.network(s) },
		"rules":   func(s *section) { c.Rules = d.rules(s.table) },
	}
	names := slices.Sorted(maps.Keys(sections))
	for _, key := range slices.Sorted(maps.Keys(table)) {
		if sections[key] == nil {
			d.fail("[%s]: unknown; allowed are the tables [%s]%s", key, strings.Join(names, "], ["), nearest.Hint(key, names))
		}
	}
	for _, name := range names {
		s := &section{decoder: d, name: name}
		value, present := table[name]
		ok := true
		if present {
			s.table, ok = value.(map[string]any)
		}
		switch {
		case !ok:
			d.fail("[%s]: must be a table; write [%s], in single brackets, and its keys below", name, name)
		case !present && (name == "general" || name == "rules"):
			d.fail("[%s]: this table is missing, and must be there", name)
		default:
			sections[name](s)
		}
	}
	return c, d.problems
}

type decoder struct {
	dir      string
	problems []error
}

func (d *decoder) fail(format string, args ...any) {
	d.problems = append(d.problems, fmt.Errorf(format, args...))
}

func (d *decoder) general(s *section) General {
	g := General{
		Path:       s.text("path", "", "a directory"),
		ServerRoot: s.text("server_root", "", "the tree's name in the store"),
	}
	if strings.ContainsRune(g.Path, 0) {
		s.fail("path", "must not contain a NUL byte")
	}
	if g.Path != "" {
		g.Path = join(d.dir, g.Path)
	}
	if g.ServerRoot != "" && !object.ValidName(g.ServerRoot) {
		s.fail("server_root", "%q is no name; allowed are 1 to 255 bytes without a slash, not . or ..", g.ServerRoot)
	}
	var err error
	if spec := s.text("server", "", serverForms); spec != "" {
		if g.Server, err = ParseServer(spec, d.dir); err != nil {
			s.fail("server", "%w", err)
		}
	}
	if spec := s.text("passphrase", "", passphraseForms); spec != "" {
		if g.Passphrase, err = ParsePassphrase(spec, d.dir); err != nil {
			s.fail("passphrase", "%w", err)
		}
	}
	if g.Compression, err = ParseCompression(s.text("compression", string(CompressionDefault), "")); err != nil {
		s.fail("compression", "%w", err)
	}
	g.BlockSize = int(s.size("block_size", DefaultBlockSize, MinBlockSize, MaxBlockSize))
	g.Chunking = s.text("chunking", "cdc", "")
	if known := []string{"cdc", "fixed"}; !slices.Contains(known, g.Chunking) {
		s.fail("chunking", `unknown word %q; allowed are "cdc" (by content) and "fixed"%s`, g.Chunking, nearest.Hint(g.Chunking, known))
	}
	s.end()
	return g
}

func (d *decoder) mount(s *section) Mount {
	m := Mount{
		Interval: s.duration("interval", DefaultInterval, time.Second),
		Cache:    s.size("cache", DefaultCache, MinCache, math.MaxInt64),
		Unsynced: s.size("unsynced", 0, MinUnsynced, math.MaxInt64),
		Wait:     s.duration("wait", DefaultWait, time.Second),
	}
	s.end()
	return m
}

func (d *decoder) history(s *section) History {
	h := History{Keep: s.duration("keep", DefaultKeep, time.Minute)}
	s.end()
	return h
}

func (d *decoder) s3(s *section, server *Server) {
	of := &server.S3
	of.Region = s.optional("region")
	of.Style = s.optional("style")
	if known := []string{"auto", "path", "virtual"}; of.Style != "" && !slices.Contains(known, of.Style) {
		s.fail("style", `unknown word %q; allowed are "auto", "path" and "virtual"%s`, of.Style, nearest.Hint(of.Style, known))
	}
	if of.CA = s.optional("ca"); of.CA != "" {
		of.CA = join(d.dir, of.CA)
	}
	of.Profile = s.optional("profile")
	of.SkipVerify = s.boolean("insecure", false)
	s.end()
	if server.Kind != ServerS3 {
		if len(s.table) > 0 && server.Kind != "" {
			d.fail("[s3]: server in [general] is no s3: store; remove this table")
		}
		*of = S3{}
	}
}

func (d *decoder) rules(table map[string]any) *rules.Set {
	set, err := rules.Parse(table)
	if err == nil {
		return set
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		d.problems = append(d.problems, many.Unwrap()...)
	} else {
		d.problems = append(d.problems, err)
	}
	return nil
}

// section is a table whose keys are read one by one; end reports those that were not.
type section struct {
	*decoder
	name  string
	item  string // which of several tables of that name
	table map[string]any
	keys  []string // that were asked for
}

func (s *section) fail(key, format string, args ...any) {
	s.decoder.fail("[%s]%s, %s: "+format, append([]any{s.name, s.item, key}, args...)...)
}

func (s *section) value(key string) (any, bool) {
	s.keys = append(s.keys, key)
	v, ok := s.table[key]
	return v, ok
}

// text reads a string that is not empty. Without a default it must be there; allowed then says what it can be.
func (s *section) text(key, def, allowed string) string {
	v, ok := s.value(key)
	if !ok {
		if def == "" {
			s.fail(key, "is missing, and must be there; write %s", allowed)
		}
		return def
	}
	text, ok := v.(string)
	if !ok || text == "" {
		s.fail(key, "must be a string in quotes, and not empty")
		return def
	}
	return text
}

// optional reads a string that may be missing, but not be empty.
func (s *section) optional(key string) string {
	if _, ok := s.table[key]; !ok {
		s.keys = append(s.keys, key)
		return ""
	}
	return s.text(key, "", "")
}

// boolean reads true or false.
func (s *section) boolean(key string, def bool) bool {
	v, ok := s.value(key)
	if !ok {
		return def
	}
	b, ok := v.(bool)
	if !ok {
		s.fail(key, "must be true or false, without quotes")
		return def
	}
	return b
}

// size reads bytes: an integer, or a string with a unit.
func (s *section) size(key string, def, least, most int64) int64 {
	v, ok := s.value(key)
	if !ok {
		return def
	}
	n, ok := v.(int64)
	if text, isText := v.(string); isText {
		var err error
		if n, err = ParseSize(text); err != nil {
			s.fail(key, "%w", err)
			return def
		}
		ok = true
	}
	switch {
	case !ok:
		s.fail(key, "must be a number of bytes, or a string like %q", "10GiB")
	case n < least, n > most:
		s.fail(key, "%d is out of range; allowed are %d to %d bytes", n, least, most)
	default:
		return n
	}
	return def
}

// duration reads a string with units, or 0.
func (s *section) duration(key string, def, least time.Duration) time.Duration {
	v, ok := s.value(key)
	if !ok {
		return def
	}
	if n, isInt := v.(int64); isInt && n == 0 {
		return 0
	}
	text, ok := v.(string)
	if !ok {
		s.fail(key, "must be a string like %q or %q, or 0", "30s", "30d")
		return def
	}
	t, err := ParseDuration(text)
	switch {
	case err != nil:
		s.fail(key, "%w", err)
	case t != 0 && t < least:
		s.fail(key, "%s is too short; allowed are 0, and %v or more", text, least)
	default:
		return t
	}
	return def
}

func (s *section) end() {
	for _, key := range slices.Sorted(maps.Keys(s.table)) {
		if !slices.Contains(s.keys, key) {
			s.fail(key, "unknown key; allowed are %s%s", strings.Join(s.keys, ", "), nearest.Hint(key, s.keys))
		}
	}
}

// ParseCompression reads a grade of compression.
func ParseCompression(s string) (Compression, error) {
	words := []string{"none", "off", "fast", "default", "on", "best"}
	switch s {
	case "none", "off":
		return CompressionNone, nil
	case "fast", "best":
		return Compression(s), nil
	case "default", "on":
		return CompressionDefault, nil
	}
	return "", fmt.Errorf("unknown word %q; allowed are %s%s", s, strings.Join(words, ", "), nearest.Hint(s, words))
}

// join resolves a path against a directory. It does not clean it: a ".." after a symbolic link means what it means.
func join(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return strings.TrimSuffix(dir, "/") + "/" + path
}

// syntaxError says where a text is no TOML, without repeating any of it where it may be a passphrase.
func syntaxError(text []byte, err error) error {
	var detail toml.ParseError
	if !errors.As(err, &detail) {
		return errors.New("not valid TOML")
	}
	line := detail.Position.Line
	lines := bytes.Split(text, []byte("\n"))
	secret := strings.Contains(detail.LastKey, "passphrase")
	for i := line - 2; i <= line; i++ { // a string that is not closed is reported at its end
		secret = secret || i >= 0 && i < len(lines) && bytes.Contains(lines[i], []byte("passphrase"))
	}
	if secret || detail.Message == "" {
		return fmt.Errorf("line %d: not valid TOML; strings stand in quotes, on one line", line)
	}
	return fmt.Errorf("line %d: %s; the syntax is that of TOML 1.0", line, detail.Message)
}
