using HybridArchitectures.Tokenization;

namespace HybridArchitectures.Tests.Tokenization;

/// <summary>Compares split patterns with the pieces of the reference library (tokenizers 0.23.2, with Oniguruma).</summary>
public class SplitPatternTests
{
    static string Cut(string pattern, string text) =>
        string.Join('/', new SplitPattern(pattern).Pieces(text).Select(piece => text.Substring(piece.Offset, piece.Length)));

    [Theory]
    [InlineData("[\U00010400-\U0001044FA-Z]+", "a\U00010400\U0001044FB\U00010450", "a/\U00010400\U0001044FB/\U00010450")]
    [InlineData("[\u0800-\u4E00]+", "\u0905\U0001D16F\u0905", "\u0905/\U0001D16F/\u0905")]
    [InlineData("[\uE000-\U0001F642]+", "a\uFFFD\U0001F600\U0001F643", "a/\uFFFD\U0001F600/\U0001F643")]
    [InlineData("\U0001F642+", "x\U0001F642\U0001F642\U0001F643", "x/\U0001F642\U0001F642/\U0001F643")]
    [InlineData("[^\U0001F642]+", "ab\U0001F642\U0001F643c", "ab/\U0001F642/\U0001F643c")]
    [InlineData("[^a]", "\U0001F642ba", "\U0001F642/b/a")]
    [InlineData(".", "\U0001F642b", "\U0001F642/b")]
    [InlineData(@"\x{1F642}|\x41", "A\U0001F642b", "A/\U0001F642/b")]
    [InlineData(@"\P{L}+", "a\U0001F642\U0001D400\U00020000-", "a/\U0001F642/\U0001D400\U00020000/-")]
    [InlineData(@"[^\P{L}]+", "1\U0001D400a\U0001F642", "1/\U0001D400a/\U0001F642")]
    [InlineData(@"[\p{C}]+", "\U0001F642\u0001\U000E0001a", "\U0001F642/\u0001\U000E0001/a")]
    [InlineData(@"\D+", "1\U0001D7D8a\U0001F642", "1\U0001D7D8/a\U0001F642")]
    [InlineData(@"[^\S\n]+", "a \n\U0001F642 ", "a/ /\n\U0001F642/ ")]
    [InlineData("[a-z&&[^aeiou]]+", "abcdeF", "a/bcd/eF")]
    [InlineData("[[a-c][x-z]]+", "axmz", "ax/m/z")]
    [InlineData(@" ?[^(\s|[.,!?]]+", "for (int i", "for/ (/int/ i")]
    public void A_character_is_a_code_point(string pattern, string text, string pieces) => Assert.Equal(pieces, Cut(pattern, text));

    [Theory]
    [InlineData("(?i)k+|s+", "kK\u212A s\u017FS", "kK\u212A/ /s\u017FS")]
    [InlineData("(?i:[k-s]+)", "Ks\u017F\u212Aa", "Ks\u017F\u212A/a")]
    [InlineData("'(?i:[sd]|ll)", "'S'Ll'x", "'S/'Ll/'x")]
    [InlineData("(?-i:a)|B", "aAbB", "a/Ab/B")]
    public void Case_is_ignored_as_Unicode_folds_it(string pattern, string text, string pieces) => Assert.Equal(pieces, Cut(pattern, text));

    [Theory]
    [InlineData("a++b|a", "aaab aac", "aaab/ /a/a/c")]
    [InlineData("a*+ab|x", "aab", "aab")]
    [InlineData(@"\p{N}{1,2}+", "12345a", "12345/a")]
    [InlineData(@"\p{N}{,2}", "123a", "12/3/a")]
    [InlineData("(?<=a)e|(?<!a)o", "aeaoo", "a/e/ao/o")]
    [InlineData("a{x}", "aa{x}", "a/a{x}")]
    [InlineData("x*", "axxb", "a/xx/b")]
    public void Quantifiers_are_those_of_the_files_dialect(string pattern, string text, string pieces) => Assert.Equal(pieces, Cut(pattern, text));

    [Theory]
    [InlineData(@"\w+")]
    [InlineData(@"\bA")]
    [InlineData("a$")]
    [InlineData("(a)\\1")]
    [InlineData("(?<n>a)")]
    [InlineData(@"\p{Han}")]
    [InlineData("[[:alpha:]]")]
    [InlineData("(?i:\u00E9)")]
    [InlineData("(?i:ss)")]
    [InlineData(@"(?i:\p{Lu})")]
    [InlineData("a**")]
    [InlineData("a{2}?")]
    [InlineData("a{3,2}")]
    [InlineData("a(?i)b")]
    [InlineData("(a")]
    [InlineData("a)")]
    [InlineData("[a")]
    [InlineData("[b-a]")]
    [InlineData("\\")]
    public void What_has_no_equal_is_refused(string pattern) =>
        Assert.Contains("split pattern", Assert.Throws<FormatException>(() => new SplitPattern(pattern)).Message);

    [Fact]
    public void Groups_and_classes_within_each_other_are_bounded()
    {
        Assert.Throws<FormatException>(() => new SplitPattern(new string('(', 5000) + "a" + new string(')', 5000)));
        Assert.Throws<FormatException>(() => new SplitPattern(new string('[', 5000) + "a" + new string(']', 5000)));
        Assert.Throws<FormatException>(() => new SplitPattern(new string('a', 20_000)));
    }

    [Fact]
    public void A_pattern_that_would_never_end_is_refused_in_time()
    {
        var pattern = new SplitPattern("(?:a|aa|a+)+!", TimeSpan.FromSeconds(0.2));
        var error = Assert.Throws<InvalidDataException>(() => pattern.Pieces(new string('a', 60)));
        Assert.Contains("\"(?:a|aa|a+)+!\" takes more than 0.2 s", error.Message);
        // also where no single match does
        var many = new SplitPattern("(?:a|aa|a+)+!|.", TimeSpan.FromSeconds(0.2));
        Assert.Throws<InvalidDataException>(() => many.Pieces(string.Concat(Enumerable.Repeat(new string('a', 21) + "?", 500))));
    }
}
