using HybridArchitectures.Cost;
using HybridArchitectures.Design;

namespace HybridArchitectures.Tests.Cost;

public class UnitsTests
{
    [Theory]
    [InlineData(0, "0 B")]
    [InlineData(934, "934 B")]
    [InlineData(1023, "1023 B")]
    [InlineData(1024, "1.00 KiB")]
    [InlineData(10_230, "9.99 KiB")]
    [InlineData(10_239, "10.0 KiB")]
    [InlineData(65_667_072, "62.6 MiB")]
    [InlineData(1_048_575, "1.00 MiB")]
    [InlineData(1_047_000, "1022 KiB")]
    [InlineData(3.5e12, "3.18 TiB")]
    [InlineData(-2048, "-2.00 KiB")]
    public void Bytes_have_the_unit_that_fits(double bytes, string expected) => Assert.Equal(expected, Units.Bytes(bytes));

    [Theory]
    [InlineData(0, "0 FLOP")]
    [InlineData(0.25, "0.25 FLOP")]
    [InlineData(999.4, "999 FLOP")]
    [InlineData(999.6, "1.00 kFLOP")]
    [InlineData(1_000_000, "1.00 MFLOP")]
    [InlineData(6.125e9, "6.13 GFLOP")]
    [InlineData(4.47e20, "447 EFLOP")]
    public void Operations_have_the_unit_that_fits(double operations, string expected) => Assert.Equal(expected, Units.Flops(operations));

    [Theory]
    [InlineData(999, "999")]
    [InlineData(62_600, "62.6K")]
    [InlineData(999_950, "1.00M")]
    [InlineData(1_221_604_128, "1.22B")]
    public void Counts_have_the_suffix_that_fits(double count, string expected) => Assert.Equal(expected, Units.Count(count));

    [Theory]
    [InlineData(0, "0 s")]
    [InlineData(0.00051, "510 \u00b5s")]
    [InlineData(0.0123, "12.3 ms")]
    [InlineData(0.9999, "1.00 s")]
    [InlineData(2e-9, "2.00 ns")]
    [InlineData(125, "125 s")]
    public void Times_have_the_unit_that_fits(double seconds, string expected) => Assert.Equal(expected, Units.Seconds(seconds));

    [Theory]
    [InlineData(null, "")]
    [InlineData(0.0, ", 00:00:00 left")]
    [InlineData(23.6, ", 00:00:24 left")]
    [InlineData(90_061.2, ", 1.01:01:01 left")]
    public void A_remaining_time_ends_a_line(double? seconds, string expected) =>
        Assert.Equal(expected, Units.TimeLeft(seconds is { } time ? TimeSpan.FromSeconds(time) : null));

    [Fact]
    public void A_small_model_is_printed_in_units_that_show_something()
    {
        var cost = HybridDesign.Create(16, 32).WithAttention(2).WithMamba2(stateSize: 4, headSize: 8).WithFeedForward(FeedForwardSpec.SwiGlu(16))
            .Pattern("MT").Build().Cost(16);
        string said =
            $"{cost}\n{cost.Design.Explain(16)}\n{cost.Cache()}\n{cost.TrainingMemory()}\n{cost.Flops()}\n{cost.Decode(Accelerator.Get("H200"))}";
        Assert.DoesNotMatch(@"\b0\.0+\d? ?[kKMGTµnm]?(i?B|FLOP|s)\b", said);
        Assert.Contains("cache, bfloat16  2.31 KiB per row at 16 tokens (keys and values 1.00 KiB, convolutions 240 B, states 512 B)".Replace(
            "2.31", Kibibytes(cost.Cache().Total)), said.ReplaceLineEndings("\n"));
        Assert.Contains("kFLOP training", said);
    }

    static string Kibibytes(long bytes) => (bytes / 1024.0).ToString("0.00", System.Globalization.CultureInfo.InvariantCulture);
}
