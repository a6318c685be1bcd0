package engine

import "testing"

// The stories of two people who edit the same tree: base is in sync, then each edits, then A syncs, then B, then A. All
// must be equal then, as want says.
var stories = []struct {
	name, base, a, b, want string
}{
	{"edit, edit", "f=0", "write f=a", "write f=b", "f=b f~1=a"},
	{"same edit on both", "f=0", "write f=x; touch 5 f", "write f=x; touch 5 f", "f=x"},
	{"create, create, differ", "", "write f=a", "write f=b", "f=b f~1=a"},
	{"create, create, same", "", "write f=x", "write f=x", "f=x"},
	{"edit, delete", "f=0", "write f=a", "rm f", "f=a"},
	{"delete, edit", "f=0", "rm f", "write f=b", "f=b"},
	{"delete, delete", "f=0 g=1", "rm f", "rm f", "g=1"},
	{"rmdir, edit child", "d/f=0 d/g=0", "rm d", "write d/f=b", "d/f=b"},
	{"edit child, rmdir", "d/f=0 d/g=0", "write d/f=a", "rm d", "d/f=a"},
	{"rmdir, new child", "d/f=0", "rm d", "write d/n=b", "d/n=b"},
	{"new child, rmdir", "d/f=0", "write d/n=a", "rm d", "d/n=a"},
	{"rmdir, new child deep", "d/e/g/f=0 d/k=1", "rm d", "write d/e/g/n=b", "d/e/g/n=b"},
	{"file to directory, edit", "f=0", "rm f; write f/x=a", "write f=b", "f=b f~1/x=a"},
	{"edit, file to directory", "f=0", "write f=a", "rm f; write f/x=b", "f/x=b f~1=a"},
	{"directory to file, new child", "d/f=0", "rm d; write d=a", "write d/n=b", "d=a d~1/n=b"},
	{"new child, directory to file", "d/f=0", "write d/n=a", "rm d; write d=b", "d=b d~1/n=a"},
	{"directory to file", "d/f=0 d/g=1", "rm d; write d=a", "", "d=a"},
	{"file to directory", "f=0", "rm f; write f/x=1", "", "f/x=1"},
	{"rename on both", "f=0", "mv f g", "mv f h", "g=0 h=0"},
	{"rename, edit", "f=0", "mv f g", "write f=b", "f=b g=0"},
	{"rename directory, edit child", "d/f=0 d/g=1", "mv d e", "write d/f=b", "e/f=b e/g=1"},
	{"move into each other", "p/x=1 q/y=2", "mv p q/p", "mv q p/q", "p/q/y=2 q/p/x=1"},
	{"case-only rename", "f=0", "mv f F", "", "F=0"},
	{"f and F made apart", "", "write f=a", "write F=b", "F=b f=a"},
	{"composed and decomposed names", "", "write \u00e9=a", "write e\u0301=b", "e%cc%81=b %c3%a9=a"},
	{"chmod, edit", "f=0", "chmod 600 f", "write f=b", "f=b@600"},
	{"edit, chmod", "f=0", "write f=a", "chmod 600 f", "f=a@600"},
	{"chmod, chmod", "f=0", "chmod 600 f", "chmod 755 f", "f=0@600"},
	{"touch, edit", "f=0", "touch 77 f", "write f=b", "f=b"},
	{"touch, touch", "f=0", "touch 77 f", "touch 66 f", "f=0"},
	{"chmod and touch, edit", "f=0", "chmod 600 f; touch 77 f", "write f=b", "f=b@600"},
	{"edit, chmod and touch", "f=0", "write f=a", "chmod 600 f; touch 77 f", "f=a@600"},
	{"chmod of a directory, new child", "d/f=0", "chmod 700 d", "write d/n=1", "d/@700 d/f=0 d/n=1"},
	{"read-only directory with content", "", "write d/e/f=1; chmod 500 d/e; chmod 555 d", "", "d/@555 d/e/@500 d/e/f=1"},
	{"symlink retargeted on both", "l->x", "ln l->a", "ln l->b", "l->b l~1->a"},
	{"both emptied of one of many", "a=1 b=2 c=3", "rm a", "rm b", "c=3"},
	{"directory made on both", "", "write d/a=1", "write d/b=2; chmod 700 d", "d/a=1 d/b=2"},
	{"conflict beside its copy's name", "f=0 f~1=old", "write f=a", "write f=b", "f=b f~1=old f~2=a"},
}

func TestStories(t *testing.T) {
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			w := newWorld(t, 2)
			a, b := w.machines[0], w.machines[1]
			a.build(s.base)
			a.sync()
			b.sync()
			a.user(s.a)
			b.user(s.b)
			a.sync()
			b.sync()
			a.sync()
			if got := b.String(); got != s.want {
				t.Errorf("B has %q, want %q", got, s.want)
			}
			if got := w.settled(); got != s.want {
				t.Errorf("all have %q, want %q", got, s.want)
			}
		})
	}
}
