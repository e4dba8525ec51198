using System.Text;

namespace HybridArchitectures.Tests.Architecture;

/// <summary>A checkout has the same bytes on every system: Git writes LF on Windows too, and changes no binary file.</summary>
public class GitAttributesTests
{
    // Git takes a file as text if its first 8,000 bytes contain no 0
    const int Looked = 8000;

    static string[] Attributes { get; } = File.ReadAllLines(Path.Combine(Repository.Root, ".gitattributes"));

    static string[] Binary { get; } =
        [.. Attributes.Where(line => line.EndsWith(" binary", StringComparison.Ordinal)).Select(line => line.Split(' ')[0])];

    static IEnumerable<string> Files => new[] { "src", "tests", "samples", "benchmarks", "docs", "lab", ".ci", ".config" }
        .Select(folder => Path.Combine(Repository.Root, folder)).Where(Directory.Exists)
        .SelectMany(folder => Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories))
        .Concat(Directory.EnumerateFiles(Repository.Root))
        .Where(path => !Path.GetRelativePath(Repository.Root, path).Split(Path.DirectorySeparatorChar).Any(part => part is "bin" or "obj" or "runs"));

    [Fact]
    public void Texts_have_LF_on_every_system()
    {
        Assert.Contains("* text=auto eol=lf", Attributes);
        // what Git takes as text and would convert
        Assert.DoesNotContain(Files, path => !IsBinary(path) && File.ReadAllBytes(path).AsSpan().IndexOf("\r\n"u8) >= 0);
    }

    [Fact]
    public void Files_that_look_like_text_at_their_start_and_are_none_are_declared()
    {
        var utf8 = new UTF8Encoding(false, throwOnInvalidBytes: true);
        Assert.DoesNotContain(Files, path => !IsBinary(path) && !IsText(File.ReadAllBytes(path)));

        bool IsText(byte[] bytes)
        {
            try
            {
                return !utf8.GetString(bytes).Contains('\0');
            }
            catch (DecoderFallbackException)
            {
                return false;
            }
        }
    }

    static bool IsBinary(string path)
    {
        if (Binary.Contains($"*{Path.GetExtension(path)}")) return true;
        Span<byte> start = stackalloc byte[Looked];
        using var file = File.OpenRead(path);
        return start[..file.ReadAtLeast(start, Looked, throwOnEndOfStream: false)].Contains((byte)0);
    }
}
