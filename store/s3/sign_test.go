package s3

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestSignVectors are the examples of "Signature Calculations for the Authorization Header" in Amazon's S3 API reference.
func TestSignVectors(t *testing.T) {
	const (
		empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
		put   = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
	)
	c := Credentials{ID: "AKIAIOSFODNN7EXAMPLE", Secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	for _, v := range []struct {
		method, path, hash, want string
		header                   map[string]string
	}{
		{"GET", "/test.txt", empty, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41", map[string]string{"Range": "bytes=0-9"}},
		{"PUT", "/test%24file.text", put, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
			map[string]string{"Date": "Fri, 24 May 2013 00:00:00 GMT", "X-Amz-Storage-Class": "REDUCED_REDUNDANCY"}},
		{"GET", "/?lifecycle=", empty, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543", nil},
		{"GET", "/?max-keys=2&prefix=J", empty, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7", nil},
	} {
		req, err := http.NewRequest(v.method, "https://examplebucket.s3.amazonaws.com"+v.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range v.header {
			req.Header.Set(name, value)
		}
		sign(req, v.hash, c, "us-east-1", time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC))
		if got := req.Header.Get("Authorization"); !strings.HasSuffix(got, "Signature="+v.want) {
			t.Errorf("%s %s: %s, want signature %s", v.method, v.path, got, v.want)
		}
	}
}

func TestEscape(t *testing.T) {
	if got := escape("/b/a-z_.~/A b+c/é$", "/"); got != "/b/a-z_.~/A%20b%2Bc/%C3%A9%24" {
		t.Error(got)
	}
}
