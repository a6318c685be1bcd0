package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ensync/keys"
	"ensync/store"
)

func (a *app) keyRotate() *cobra.Command {
	var old, root string
	var with []string
	var reencrypt bool
	cmd := &cobra.Command{
		Use:   "rotate [CONFIG] GROUP...",
		Short: "Give groups a new key, which nobody has who was removed",
		Long: `Give groups a new internal key. All passphrases in the group get it; whoever was taken out of the group, or
whose passphrase was removed, does not, and what they kept neither opens nor signs what comes from now on. Nobody
needs to do anything on other machines.

What lies in the store already stays readable to who kept the old key and can get at the store.
Cut off at any point, it is safe to run again. To be removed first: ensync key rm, ensync key group disassoc.`,
		Args: between(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if reencrypt {
				return usagef("--re-encrypt can't be done in place: nothing is ever deleted from a store, so the old objects would stay; " +
					"ensync store rekey TO stores everything anew at another place, under new keys")
			}
			path, groups, err := a.named(args, 1)
			if err != nil {
				return err
			}
			return a.editKeys(cmd.Context(), path, old, "Passphrase", func(k *keyEdit) error {
				if err := k.needRoot(root); err != nil {
					return err
				}
				var others []*keys.Chain
				defer func() {
					for _, c := range others {
						c.Close()
					}
				}()
				for _, spec := range with {
					c, err := k.chain(spec, "One more passphrase")
					if err != nil {
						return err
					}
					others = append(others, c)
				}
				return k.rotate(groups, others)
			})
		},
	}
	cmd.Flags().StringArrayVar(&with, "with", nil, "one more passphrase that is at hand: `SPEC`; needed for keys made by ensync before rotation was there")
	cmd.Flags().BoolVar(&reencrypt, "re-encrypt", false, "not possible in place: see ensync store rekey")
	return a.keyFlags(cmd, &old, nil, &root)
}

func (k *keyEdit) rotate(groups []string, others []*keys.Chain) error {
	for _, group := range groups {
		err := k.st.Rotate(k.ctx, store.Rotation{Group: group, Root: k.root, Others: others, Report: func(text string) {
			fmt.Fprintf(k.stderr, "%s: %s\n", group, text)
		}})
		if err != nil {
			return err
		}
		fmt.Fprintf(k.stderr, "Group %s has a new key.\n", group)
	}
	return nil
}

// rotateLeft rotates groups that a key went out of, or says that they should be.
func (k *keyEdit) rotateLeft(groups []string, rotate bool) error {
	if rotate {
		return k.rotate(groups, nil)
	}
	fmt.Fprintf(k.stderr, "Whoever used it may have kept what it opened. To keep them out of what comes from now on: ensync key rotate %s\n",
		strings.Join(groups, " "))
	return nil
}

func groupsOf(f *keys.File, key string) []string {
	for _, i := range f.List() {
		if i.Name == key {
			return i.Groups
		}
	}
	return nil
}

// groupText says what is to be done about a group; "" if nothing is.
func groupText(g keys.GroupInfo) string {
	switch {
	case g.Left:
		return fmt.Sprintf("Group %s: a key that was taken out of it may have kept its key; ensync key rotate %s makes a new one.\n", g.Name, g.Name)
	case g.Rotating:
		return fmt.Sprintf("Group %s: its key is being rotated; if nobody is at it any more, run ensync key rotate %s.\n", g.Name, g.Name)
	}
	return ""
}
