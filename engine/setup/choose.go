package setup

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"ensync/engine/config"
	"ensync/engine/plan"
	"ensync/keys"
	"ensync/store/object"
)

// chooseRoot asks which tree of the store is this one.
func (s *setup) chooseRoot(ctx context.Context) error {
	infos, err := s.store.Roots(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, i := range infos {
		if utf8.ValidString(i.Name) {
			names = append(names, i.Name)
		}
	}
	def, question := DefaultRoot, "Name for this tree in the store"
	if len(names) > 0 {
		def, question = names[0], "Which of them?"
		s.talk.Say("The store has these trees:\n  " + strings.Join(names, "\n  "))
	}
	for {
		name, err := s.talk.Choose(ctx, Root, question, def, validRoot)
		if err != nil {
			return err
		}
		s.settings.ServerRoot = name
		if slices.Contains(names, name) {
			return nil
		}
		yes := len(names) == 0
		if !yes {
			if yes, err = s.talk.Confirm(ctx, fmt.Sprintf("The store has no tree %s. Create it?", name)); err != nil {
				return err
			}
		}
		if yes {
			s.newRoot = name
			return nil
		}
	}
}

func validRoot(name string) error {
	if !object.ValidName(name) || !utf8.ValidString(name) {
		return fmt.Errorf("%q is no name; allowed are 1 to 255 bytes of text without a slash, and neither . nor .. alone", name)
	}
	_, _, err := object.ParseGroups(name, "", "")
	return err
}

func (s *setup) chooseCompression(ctx context.Context) (err error) {
	s.settings.Compression, err = s.talk.Choose(ctx, Compression, "Compression (none, fast, default, best)",
		string(config.CompressionBest), func(text string) error {
			_, err := config.ParseCompression(text)
			return err
		})
	return err
}

func (s *setup) chooseMode(ctx context.Context) (err error) {
	s.settings.Mode, err = s.talk.Choose(ctx, Mode, "Sync mode (seven characters like cud/cud, or one of "+
		strings.Join(plan.ModeNames(), ", ")+")", "conservative-sync", func(text string) error {
		_, err := plan.ParseMode(text)
		return err
	})
	return err
}

// Answers is a Talk without questions: everything is confirmed, and choices are made beforehand. Empty ones are the
// defaults.
type Answers struct {
	Root, Compression, Mode string
	Tell                    func(string)
	Passphrases             keys.Asker
}

// Ask implements Talk.
func (a *Answers) Ask(ctx context.Context, prompt string) ([]byte, error) {
	return a.Passphrases.Ask(ctx, prompt)
}

// Say implements Talk.
func (a *Answers) Say(text string) { a.Tell(text) }

// Confirm implements Talk.
func (a *Answers) Confirm(ctx context.Context, _ string) (bool, error) { return true, ctx.Err() }

// Choose implements Talk. A choice that is not valid is an error.
func (a *Answers) Choose(ctx context.Context, topic Topic, _, def string, valid func(string) error) (string, error) {
	text := map[Topic]string{Root: a.Root, Compression: a.Compression, Mode: a.Mode}[topic]
	if text == "" {
		text = def
	}
	if err := valid(text); err != nil {
		return "", err
	}
	return text, ctx.Err()
}
