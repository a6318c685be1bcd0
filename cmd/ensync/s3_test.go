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
	endpoint, command := s3Server(t)
	liar := s3test.Start(t)
	liar.Lies.LoseEach = 100
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("..", "..", "testdata", "script", "s3"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("S3", "s3:http://"+endpoint+"/"+s3test.Bucket)
			env.Setenv("LIAR", "s3:"+liar.URL+"/"+s3test.Bucket)
			env.Setenv("AWS_ACCESS_KEY_ID", s3test.ID)
			env.Setenv("AWS_SECRET_ACCESS_KEY", s3test.Secret)
			return setUpScript(env)
		},
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"server": command},
		RequireExplicitExec: true,
	})
}

// s3Server starts a server; command is "server stop" and "server start" of a script.
func s3Server(t *testing.T) (endpoint string, command func(*testscript.TestScript, bool, []string)) {
	var stop, start func()
	if os.Getenv(s3test.VersitygwVariable) != "" {
		v := s3test.StartVersitygw(t)
		endpoint, stop, start = v.Endpoint, v.Kill, v.Start
	} else {
		s := s3test.Start(t)
		endpoint = s.Endpoint()
		stop = func() { s.SetFault(func(int, *http.Request) s3test.Fault { return s3test.LostRequest }) }
		start = func() { s.SetFault(nil) }
	}
	return endpoint, func(ts *testscript.TestScript, neg bool, args []string) {
		switch {
		case !neg && len(args) == 1 && args[0] == "stop":
			stop()
		case !neg && len(args) == 1 && args[0] == "start":
			start()
		default:
			ts.Fatalf("usage: server stop|start")
		}
	}
}
