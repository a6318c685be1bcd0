package s3

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The parts of AWS Signature Version 4.
const (
	algorithm  = "AWS4-HMAC-SHA256"
	amzTime    = "20060102T150405Z"
	amzDate    = "20060102"
	hashHeader = "X-Amz-Content-Sha256"
)

// sign adds the headers that prove who asks. The hash of the body is signed, so a server takes nothing else for it.
// All headers that the request has are signed; those that net/http adds later are not.
func sign(req *http.Request, bodyHash string, c Credentials, region string, now time.Time) {
	now = now.UTC()
	req.Header.Set("X-Amz-Date", now.Format(amzTime))
	req.Header.Set(hashHeader, bodyHash)
	if c.Token != "" {
		req.Header.Set("X-Amz-Security-Token", c.Token)
	}
	names, headers := canonicalHeaders(req)
	scope := strings.Join([]string{now.Format(amzDate), region, "s3", "aws4_request"}, "/")
	canonical := strings.Join([]string{req.Method, req.URL.EscapedPath(), req.URL.RawQuery, headers, names, bodyHash}, "\n")
	sum := sha256.Sum256([]byte(canonical))
	text := strings.Join([]string{algorithm, now.Format(amzTime), scope, hex.EncodeToString(sum[:])}, "\n")
	key := []byte("AWS4" + c.Secret)
	for _, part := range strings.Split(scope, "/") {
		key = mac(key, part)
	}
	req.Header.Set("Authorization", algorithm+" Credential="+c.ID+"/"+scope+",SignedHeaders="+names+
		",Signature="+hex.EncodeToString(mac(key, text)))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// canonicalHeaders returns the names that are signed, and the headers as they are signed.
func canonicalHeaders(req *http.Request) (names, headers string) {
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	values := map[string]string{"host": host}
	list := []string{"host"}
	for name, v := range req.Header {
		name = strings.ToLower(name)
		values[name] = strings.TrimSpace(strings.Join(v, ","))
		list = append(list, name)
	}
	slices.Sort(list)
	var b strings.Builder
	for _, name := range list {
		b.WriteString(name + ":" + values[name] + "\n")
	}
	return strings.Join(list, ";"), b.String()
}

// escape encodes all but the unreserved characters of RFC 3986, and the slash if keep says so. url.URL escapes less
// than what is signed.
func escape(s, keep string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~"+keep, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteString("%" + hexDigits[c>>4:c>>4+1] + hexDigits[c&15:c&15+1])
	}
	return b.String()
}

// query encodes parameters in the order in which they are signed.
func query(v url.Values) string {
	var parts []string
	for name, values := range v {
		for _, value := range values {
			parts = append(parts, escape(name, "")+"="+escape(value, ""))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, "&")
}
