package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"ensync/engine/setup"
	"ensync/keys"
)

// asker returns who asks for passphrases.
func (a *app) asker() keys.Asker { return terminal{} }

// terminal asks on the controlling terminal, whatever stdin and stdout are.
type terminal struct{}

// Ask implements keys.Asker. When ctx ends, the terminal is put back as it was; the reading itself ends with the program.
func (terminal) Ask(ctx context.Context, prompt string) ([]byte, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, errors.New("there is no terminal to ask on; give the passphrase with --key, for instance --key file:PATH")
	}
	fd := int(tty.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		tty.Close()
		return nil, fmt.Errorf("ask for a passphrase: %w", err)
	}
	fmt.Fprint(tty, strings.TrimRight(prompt, ": "), ": ")
	type line struct {
		text []byte
		err  error
	}
	read := make(chan line, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		read <- line{text, err}
	}()
	select {
	case l := <-read:
		fmt.Fprintln(tty)
		return l.text, errors.Join(l.err, tty.Close())
	case <-ctx.Done():
		term.Restore(fd, state) // tty stays open: the other goroutine still reads from it
		fmt.Fprintln(tty)
		return nil, context.Cause(ctx)
	}
}

// person is a setup.Talk with a person: questions on stdout, answers on stdin.
type person struct {
	keys.Asker
	out     *os.File
	in      *bufio.Reader
	pending chan answer // of the question that waits for an answer; nil: none does
}

type answer struct {
	text []byte
	err  error
}

func newPerson(a *app) *person {
	return &person{Asker: a.asker(), out: a.stdout, in: bufio.NewReader(a.stdin)}
}

// line reads one answer; false at the end of input. Nothing is read before a question: what is typed then may be a
// passphrase that somebody else asks for on the same terminal, ssh for one.
func (p *person) line(ctx context.Context) (string, bool, error) {
	if p.pending == nil {
		p.pending = make(chan answer, 1)
		go func(to chan<- answer) {
			text, err := p.in.ReadBytes('\n')
			to <- answer{text, err}
		}(p.pending)
	}
	select {
	case a := <-p.pending:
		p.pending = nil
		return string(bytes.TrimRight(a.text, "\r\n")), a.err == nil || len(a.text) > 0, nil
	case <-ctx.Done():
		return "", false, context.Cause(ctx) // the reading itself ends with the program
	}
}

// Say implements setup.Talk.
func (p *person) Say(text string) { fmt.Fprintln(p.out, text) }

// Confirm implements setup.Talk. Only the first character counts; the end of input is a no.
func (p *person) Confirm(ctx context.Context, question string) (bool, error) {
	for {
		fmt.Fprint(p.out, question, " [y/n] ")
		text, ok, err := p.line(ctx)
		if err != nil || !ok {
			return false, err
		}
		switch {
		case strings.HasPrefix(text, "y"), strings.HasPrefix(text, "Y"):
			return true, nil
		case strings.HasPrefix(text, "n"), strings.HasPrefix(text, "N"):
			return false, nil
		}
	}
}

// Choose implements setup.Talk.
func (p *person) Choose(ctx context.Context, _ setup.Topic, question, def string, valid func(string) error) (string, error) {
	for {
		fmt.Fprintf(p.out, "%s [%s]: ", question, def)
		text, ok, err := p.line(ctx)
		switch {
		case err != nil:
			return "", err
		case !ok:
			return "", setup.ErrCancelled
		case text == "":
			text = def
		}
		if err := valid(text); err != nil {
			fmt.Fprintln(p.out, err)
			continue
		}
		return text, nil
	}
}
