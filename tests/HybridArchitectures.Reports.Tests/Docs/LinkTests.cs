using System.Text.RegularExpressions;
using HybridArchitectures.Reports.Tests.Packages;

namespace HybridArchitectures.Reports.Tests.Docs;

public partial class LinkTests
{
    static readonly string Root = Repository.Root;

    public static TheoryData<string> Pages =>
    [
        .. new[] { "docs", "lab", "samples", "src" }
            .SelectMany(folder => Directory.GetFiles(Path.Combine(Root, folder), "*.md", SearchOption.AllDirectories))
            .Concat(Directory.GetFiles(Root, "*.md"))
            .Select(path => Path.GetRelativePath(Root, path).Replace('\\', '/'))
            .Where(path => !path.Contains("/bin/") && !path.Contains("/obj/") && !path.StartsWith("docs/api/", StringComparison.Ordinal)),
    ];

    [Theory]
    [MemberData(nameof(Pages))]
    public void Every_link_of_a_page_leads_to_a_file_and_a_heading(string page)
    {
        var path = Path.Combine(Root, page);
        foreach (Match link in Link().Matches(CodeBlock().Replace(File.ReadAllText(path), "")))
        {
            var parts = link.Groups[1].Value.Split('#', 2);
            if (parts[0].Contains("://", StringComparison.Ordinal)) continue;
            var target = parts[0].Length == 0 ? path : Path.GetFullPath(Path.Combine(Path.GetDirectoryName(path)!, parts[0]));
            Assert.True(Path.Exists(target), $"{page} links to {link.Groups[1].Value}; there is no such file");
            if (parts.Length == 2) Assert.Contains(parts[1], Anchors(File.ReadAllText(target)));
        }
    }

    [Fact]
    public void Every_page_of_the_docs_is_in_a_table_of_contents()
    {
        foreach (var folder in new[] { "docs", "docs/guides", "docs/reference", "docs/internals" })
        {
            var contents = File.ReadAllText(Path.Combine(Root, folder, "toc.yml"));
            foreach (var page in Directory.GetFiles(Path.Combine(Root, folder), "*.md"))
                Assert.Contains($"href: {Path.GetFileName(page)}\n", contents.ReplaceLineEndings("\n"));
        }
    }

    [Fact]
    public void Packages_without_a_stable_version_are_installed_as_prereleases_and_others_by_version()
    {
        var commands = Pages.Select(page => File.ReadAllText(Path.Combine(Root, page.Data)))
            .SelectMany(text => Install().Matches(text)).Select(match => match.Value).ToArray();
        Assert.Contains(commands, command => command.Contains("add package HybridArchitectures.", StringComparison.Ordinal));
        Assert.Contains(commands, command => command.Contains("tool install", StringComparison.Ordinal));
        Assert.All(commands, command => Assert.Contains(
            command.Contains("HybridArchitectures", StringComparison.Ordinal) ? "--prerelease" : "--version 0.107.0", command));
    }

    [GeneratedRegex("^dotnet (add package|tool install) .*$", RegexOptions.Multiline)]
    private static partial Regex Install();

    // as GitHub and docfx make them: lower case, without punctuation, a hyphen for each space
    static IEnumerable<string> Anchors(string markdown) => Heading().Matches(CodeBlock().Replace(markdown, ""))
        .Select(match => Punctuation().Replace(match.Groups[1].Value.Trim().ToLowerInvariant(), "").Replace(' ', '-'));

    [GeneratedRegex(@"\]\(([^)\s]+)\)")]
    private static partial Regex Link();

    [GeneratedRegex("^```.*?^```", RegexOptions.Singleline | RegexOptions.Multiline)]
    private static partial Regex CodeBlock();

    [GeneratedRegex("^#+ (.*)$", RegexOptions.Multiline)]
    private static partial Regex Heading();

    [GeneratedRegex("[^\\w\\- ]")]
    private static partial Regex Punctuation();
}
