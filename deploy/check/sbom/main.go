// Command sbom writes an SBOM, a list of all modules that are in a program, in the form of
// CycloneDX, as the Go command has put them into it.
//
// # Basics
//
//	sbom PROGRAM >PROGRAM.cdx.json
//
// The same program gets the same SBOM: there is neither a time in it nor a number by chance.
package main

import (
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: sbom PROGRAM")
		os.Exit(2)
	}
	if err := write(os.Stdout, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func write(w io.Writer, program string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return err
	}
	encoder := cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON)
	return encoder.SetPretty(true).Encode(bomOf(filepath.Base(program), info))
}

// bomOf returns the SBOM of a program of a name.
func bomOf(name string, info *debug.BuildInfo) *cdx.BOM {
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Component: &cdx.Component{
		BOMRef: "program", Type: cdx.ComponentTypeApplication, Name: name, Properties: &[]cdx.Property{},
	}}
	for _, setting := range info.Settings {
		*bom.Metadata.Component.Properties = append(*bom.Metadata.Component.Properties,
			cdx.Property{Name: "go:build:" + setting.Key, Value: setting.Value})
	}
	components := []cdx.Component{component("std", strings.TrimPrefix(info.GoVersion, "go"), "")}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		if !filepath.IsLocal(module.Path) || strings.HasPrefix(module.Path, ".") {
			continue // part of this repository
		}
		components = append(components, component(module.Path, module.Version, module.Sum))
	}
	refs := make([]string, len(components))
	for i, c := range components {
		refs[i] = c.BOMRef
	}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: "program", Dependencies: &refs}}
	return bom
}

// component describes a module. sum is as in go.sum, or empty.
func component(path, version, sum string) cdx.Component {
	url := "pkg:golang/" + path + "@" + version
	c := cdx.Component{BOMRef: url, Type: cdx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: url}
	if digest, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sum, "h1:")); err == nil && len(digest) > 0 {
		c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(digest)}}
	}
	return c
}
