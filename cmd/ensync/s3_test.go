package main

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"ensync/store/s3/s3test"
)

// TestS3Scripts runs the stories of stores in buckets: with a server in this process, or a real one (make test-s3).
func TestS3Scripts(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a few seconds")
	}
	liar := s3test.Start(t)
	liar.Lies.LoseEach = 100
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("..", "..", "testdata", "script", "s3"),
		Setup: func(env *testscript.Env) error {
			server := startS3(t)
			env.Values[serverKey{}] = server
			env.Setenv("S3", "s3:http://"+server.endpoint+"/"+s3test.Bucket)
			env.Setenv("LIAR", "s3:"+liar.URL+"/"+s3test.Bucket)
			env.Setenv("AWS_ACCESS_KEY_ID", s3test.ID)
			env.Setenv("AWS_SECRET_ACCESS_KEY", s3test.Secret)
			return setUpScript(env)
		},
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"server": serverCommand},
		RequireExplicitExec: true,
	})
}

// s3Server is the server of one script: scripts run at the same time.
type s3Server struct {
	endpoint    string
	stop, start func()
}

func startS3(t *testing.T) *s3Server {
	if os.Getenv(s3test.VersitygwVariable) != "" {
		v := s3test.StartVersitygw(t)
		return &s3Server{v.Endpoint, v.Kill, v.Start}
	}
	s := s3test.Start(t)
	return &s3Server{
		endpoint: s.Endpoint(),
		stop:     func() { s.SetFault(func(int, *http.Request) s3test.Fault { return s3test.LostRequest }) },
		start:    func() { s.SetFault(nil) },
	}
}

// serverCommand is "server stop", which kills it, and "server start".
func serverCommand(ts *testscript.TestScript, neg bool, args []string) {
	server := ts.Value(serverKey{}).(*s3Server)
	switch {
	case !neg && len(args) == 1 && args[0] == "stop":
		server.stop()
	case !neg && len(args) == 1 && args[0] == "start":
		server.start()
	default:
		ts.Fatalf("usage: server stop|start")
	}
}

type serverKey struct{}
