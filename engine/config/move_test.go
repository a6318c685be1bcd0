package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const movable = `# mine
[general]
path = "/tree" # the tree
%server% 
server_root = "root"
passphrase = "prompt"

[mount]
# server = "path:/no"
interval = "30s"
%more%
[[rules.root.files]]
mode = "cud/cud"
name = 'server = "x"'
`

func TestMove(t *testing.T) {
	drive := Address{Server: `path:/media/a "drive"`}
	bucket := Address{Server: "s3:h.example/b/p", S3Region: "eu", S3CA: "/ca.pem"}
	for _, c := range []struct {
		what, server, more string
		to                 Address
		line               string // in the new file
		fails              bool
	}{
		{"a directory", `server = "path:store" # here`, "", drive, `server = "path:/media/a \"drive\"" # here`, false},
		{"literal", `	server='path:store'`, "", drive, `	server="path:/media/a \"drive\""`, false},
		{"to a bucket", `server = "path:store"`, "", bucket, `server = "s3:h.example/b/p"`, false},
		{"from a bucket", `server = "s3:h/b"`, "[s3]\n# why\nregion = \"us\"", drive, `# region = "us"`, false},
		{"from a bucket to another", `server = "s3:h/b"`, "[s3]\nregion = \"us\"\ninsecure = true", bucket, `region = "eu"`, false},
		{"over lines", "server = \"\"\"path:store\"\"\"", "", drive, "", true},
		{"dotted", "", "", drive, "", true},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := t.TempDir()
			text := strings.NewReplacer("%server% ", c.server, "%more%", c.more).Replace(movable)
			if c.server == "" {
				text = "general.path = \"/t\"\ngeneral.server = \"path:store\"\ngeneral.server_root = \"root\"\ngeneral.passphrase = \"prompt\"\n" +
					"[[rules.root.files]]\nmode = \"cud/cud\"\n"
			}
			real, file := filepath.Join(dir, "real.toml"), filepath.Join(dir, FileName)
			if err := os.WriteFile(real, []byte(text), 0o640); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("real.toml", file); err != nil {
				t.Fatal(err)
			}
			err := Move(dir, c.to)
			now, readErr := os.ReadFile(real)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if c.fails {
				if err == nil || string(now) != text || !strings.Contains(err.Error(), "by hand") {
					t.Errorf("%v\n%s", err, now)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains("\n"+string(now)+"\n", "\n"+c.line+"\n") || !strings.HasPrefix(string(now), "# mine\n") || !strings.Contains(string(now), "# the tree") {
				t.Errorf("no line %q in\n%s", c.line, now)
			}
			cfg, err := Load(dir)
			if err != nil || cfg.General.Server.S3.Region != c.to.S3Region || cfg.General.Server.S3.SkipVerify {
				t.Errorf("%+v, %v", cfg, err)
			}
			info, err := os.Stat(real)
			if err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("%v, %v", info.Mode(), err)
			}
			if left, _ := os.ReadDir(dir); len(left) != 2 {
				t.Errorf("left: %v", left)
			}
		})
	}
}
