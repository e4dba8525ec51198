using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Training.Tests.Running;

public sealed class FileMarkTests
{
    [Fact]
    public void Checksums_of_parts_combine_to_that_of_the_file()
    {
        // the value of RFC 3720 for 32 bytes of zeros is 8a9136aa
        Assert.Equal(new FileMark(32, "8a9136aa"), Marked(new byte[32], 5, 6, 31));
        var random = new Random(1);
        var data = new byte[3000];
        random.NextBytes(data);
        string expected = Marked(data).Crc32C;
        for (int i = 0; i < 20; i++)
            Assert.Equal(new(data.Length, expected), Marked(data, random.Next(1000), 1000 + random.Next(1000), 2000 + random.Next(1000)));
        Assert.Equal(new(0, "00000000"), Marked([]));
    }

    [Fact]
    public void Parts_that_do_not_fill_the_file_are_refused()
    {
        Assert.Equal("the parts of a file have 4 bytes before offset 5; expected 5",
            Assert.Throws<InvalidOperationException>(() => FileMark.Combine([(5, 4, 1), (0, 4, 2)])).Message);
        Assert.Throws<InvalidOperationException>(() => FileMark.Combine([(3, 4, 1), (0, 4, 2)]));
    }

    static FileMark Marked(byte[] data, params int[] cuts)
    {
        int[] bounds = [0, .. cuts, data.Length];
        return FileMark.Combine(Enumerable.Range(0, bounds.Length - 1).Reverse()
            .Select(i => ((long)bounds[i], (long)bounds[i + 1] - bounds[i], FileMark.Checksum(data.AsSpan(bounds[i]..bounds[i + 1])))));
    }
}
