package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ensync/engine/setup"
	"ensync/keys"
)

func (a *app) keyGroup() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "group",
		Short: "Manage groups, which choose who may read and write what",
		Args:  cobra.ArbitraryArgs,
		RunE:  groupOnly,
	}
	cmd.AddCommand(a.groupCreate(), a.groupAssociate(), a.groupDisassociate(), a.groupDestroy())
	return cmd
}

func (a *app) groupCreate() *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use:   "create [CONFIG] GROUP...",
		Short: "Make groups, and put the configured passphrase in them",
		Args:  between(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, groups, err := a.named(args, 1)
			if err != nil {
				return err
			}
			return a.editKeys(cmd.Context(), path, "", "Passphrase", func(k *keyEdit) error {
				if err := k.needRoot(root); err != nil {
					return err
				}
				return k.st.EditKeys(k.ctx, func(f *keys.File) (*keys.File, error) {
					return f.CreateGroups(groups, k.st.Keys(), k.root)
				})
			})
		},
	}
	return a.keyFlags(cmd, nil, nil, &root)
}

func (a *app) groupAssociate() *cobra.Command {
	var from, to, root string
	cmd := &cobra.Command{
		Use:   "assoc [CONFIG] GROUP...",
		Short: "Put a passphrase in groups that another one is in",
		Args:  between(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, groups, err := a.named(args, 1)
			if err != nil {
				return err
			}
			return a.editKeys(cmd.Context(), path, from, "Passphrase that is in the groups", func(k *keyEdit) error {
				target, err := k.chain(to, "Passphrase to put in the groups")
				if err != nil {
					return err
				}
				defer target.Close()
				if err := k.needRoot(root, target); err != nil {
					return err
				}
				return k.st.EditKeys(k.ctx, func(f *keys.File) (*keys.File, error) {
					return f.Associate(groups, k.st.Keys(), target, k.root)
				})
			})
		},
	}
	cmd.Flags().StringVarP(&from, "from", "f", "", "passphrase that is in the groups: `SPEC` (default: as configured)")
	cmd.Flags().StringVarP(&to, "to", "t", "prompt", "passphrase to put in the groups: `SPEC`")
	return a.keyFlags(cmd, nil, nil, &root)
}

func (a *app) groupDisassociate() *cobra.Command {
	var root string
	var rotate bool
	cmd := &cobra.Command{
		Use:     "disassoc [CONFIG] KEY-NAME GROUP...",
		Aliases: []string{"dissoc"},
		Short:   "Take a key out of groups; what it could read before, it may still know",
		Args:    between(2, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, args, err := a.named(args, 2)
			if err != nil {
				return err
			}
			return a.editKeys(cmd.Context(), path, root, "Passphrase of a key in group root", func(k *keyEdit) error {
				err := k.st.EditKeys(k.ctx, func(f *keys.File) (*keys.File, error) {
					return f.Disassociate(args[0], args[1:], k.st.Keys())
				})
				if err != nil {
					return err
				}
				return k.rotateLeft(args[1:], rotate)
			})
		},
	}
	cmd.Flags().BoolVar(&rotate, "rotate", false, "rotate the keys of these groups, which whoever used it may have kept")
	return a.keyFlags(cmd, nil, nil, &root)
}

func (a *app) groupDestroy() *cobra.Command {
	var root string
	var yes, force bool
	cmd := &cobra.Command{
		Use:   "destroy [CONFIG] GROUP...",
		Short: "Remove groups for good; what only they could read is lost",
		Args:  between(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, groups, err := a.named(args, 1)
			if err != nil {
				return err
			}
			if !yes {
				if err := a.confirmDestroy(cmd.Context(), groups); err != nil {
					return interrupted(cmd.Context(), err)
				}
			}
			return a.editKeys(cmd.Context(), path, root, "Passphrase of a key in group root", func(k *keyEdit) error {
				return k.st.EditKeys(k.ctx, func(f *keys.File) (*keys.File, error) {
					next, err := f.DestroyGroups(groups, k.st.Keys())
					if err == nil && !force {
						// RACE: what somebody makes for these groups between this and the edit nobody can open any more.
						err = k.notInUse(groups)
					}
					return next, err
				})
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&force, "force", false, "also if there are directories for these groups, which nobody can open any more then")
	return a.keyFlags(cmd, nil, nil, &root)
}

// notInUse refuses to destroy groups that directories are for.
func (k *keyEdit) notInUse(groups []string) error {
	used, err := k.st.InUse(k.ctx, groups)
	if err != nil || len(used) == 0 {
		return err
	}
	const shown = 10
	more := ""
	if n := len(used) - shown; n > 0 {
		used, more = used[:shown], fmt.Sprintf(" and %d more", n)
	}
	return fmt.Errorf("destroy group %s: directories are for it: %s%s; rename them so that they are for others, or remove them, and sync; "+
		"if this passphrase can't read them, give --root one that can; --force gives up what is in them",
		strings.Join(groups, ", "), strings.Join(used, ", "), more)
}

// confirmDestroy wants the whole word.
func (a *app) confirmDestroy(ctx context.Context, groups []string) error {
	fmt.Fprintf(a.stdout, "Whatever only %s can read is lost for good, on all machines.\nType yes to destroy: ", strings.Join(groups, ", "))
	answer := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(a.stdin).ReadString('\n')
		answer <- strings.TrimRight(text, "\r\n")
	}()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case text := <-answer:
		if text != "yes" {
			return fmt.Errorf("destroy groups: %w; nothing was changed", setup.ErrCancelled)
		}
		return nil
	}
}
