using HybridArchitectures.Generation;

namespace HybridArchitectures.Tests.Generation;

public class StopFilterTests
{
    static (string Text, bool Stopped, List<string> Pieces) Run(string[] stops, params string[] parts)
    {
        var filter = new StopFilter(stops);
        var pieces = parts.Select(filter.Add).ToList();
        pieces.Add(filter.End());
        return (string.Concat(pieces), filter.IsStopped, pieces);
    }

    [Fact]
    public void What_may_become_a_stop_string_is_held_back_until_it_cannot()
    {
        var (_, stopped, pieces) = Run(["END"], "aE", "N", "x", "yEN");
        Assert.Equal(["a", "", "ENx", "y", "EN"], pieces);
        Assert.False(stopped);
    }

    [Fact]
    public void A_stop_string_over_several_pieces_ends_the_text_and_nothing_of_it_comes_out()
    {
        var (_, stopped, pieces) = Run(["END"], "abE", "N", "Dcd", "e");
        Assert.Equal(["ab", "", "", "", ""], pieces);
        Assert.True(stopped);
    }

    [Fact]
    public void A_false_beginning_inside_a_stop_string_is_not_missed()
    {
        Assert.Equal("xaa", Run(["aab"], "xaa", "aa", "b", "z").Text);
        Assert.Equal("", Run(["abab"], "ab", "a", "b").Text);
        Assert.Equal("ab", Run(["abac"], "ab", "aba", "c").Text);
    }

    [Fact]
    public void The_cut_does_not_matter()
    {
        string[][] sets = [["ab", "bca"], ["aa"], ["abcab", "b"], ["c"], ["abc", "cab", "bb"], []];
        var random = new Random(2);
        for (int round = 0; round < 2000; round++)
        {
            string text = string.Concat(Enumerable.Range(0, random.Next(1, 14)).Select(_ => "abc"[random.Next(3)]));
            var stops = sets[random.Next(sets.Length)];
            var cuts = new List<string>();
            for (int at = 0; at < text.Length;)
            {
                int length = random.Next(1, 4);
                cuts.Add(text.Substring(at, Math.Min(length, text.Length - at)));
                at += length;
            }
            // the stop string that is complete first; of those the one that begins first
            int end = Enumerable.Range(1, text.Length)
                .FirstOrDefault(length => stops.Any(stop => text[..length].EndsWith(stop, StringComparison.Ordinal)));
            string expected = end == 0 ? text : stops.Where(stop => text[..end].EndsWith(stop, StringComparison.Ordinal))
                .Select(stop => text[..(end - stop.Length)]).MinBy(kept => kept.Length)!;
            Assert.Equal((expected, end > 0), (Run(stops, [.. cuts]).Text, Run(stops, [.. cuts]).Stopped));
            Assert.Equal((expected, end > 0), (Run(stops, text).Text, Run(stops, text).Stopped));
        }
    }
}
