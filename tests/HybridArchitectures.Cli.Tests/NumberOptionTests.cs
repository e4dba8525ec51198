using System.CommandLine;
using System.Globalization;

namespace HybridArchitectures.Cli.Tests;

/// <summary>Tests the options of the samples that are numbers.</summary>
public sealed class NumberOptionTests : IDisposable
{
    readonly CultureInfo before = CultureInfo.CurrentCulture;

    public void Dispose() => CultureInfo.CurrentCulture = before;

    static (IReadOnlyList<string> Errors, T Value) Parse<T>(Option<T> option, params string[] arguments)
    {
        var parsed = new RootCommand { option }.Parse(arguments);
        return ([.. parsed.Errors.Select(error => error.Message)], parsed.Errors.Count > 0 ? default! : parsed.GetValue(option)!);
    }

    static Option<double> Minutes => NumberOption.Create("--minutes", "The time.", 2.5, 0.5, 10_080);

    [Theory]
    [InlineData(".", ","), InlineData(",", "."), InlineData(",", "\u00A0")]
    public void The_decimal_point_is_a_point_in_every_culture(string point, string thousands)
    {
        var culture = (CultureInfo)CultureInfo.InvariantCulture.Clone();
        (culture.NumberFormat.NumberDecimalSeparator, culture.NumberFormat.NumberGroupSeparator) = (point, thousands);
        CultureInfo.CurrentCulture = culture;
        Assert.Equal(0.5, Parse(Minutes, "--minutes", "0.5").Value);
        Assert.Equal("--minutes is '0,5'; expected a number with a decimal point from 0.5 to 10080",
            Assert.Single(Parse(Minutes, "--minutes", "0,5").Errors));
    }

    [Theory]
    [InlineData("1e300"), InlineData("-1"), InlineData("NaN"), InlineData("Infinity"), InlineData("1,000"), InlineData("two")]
    public void A_number_out_of_range_is_refused_by_name(string text) =>
        Assert.StartsWith($"--minutes is '{text}'; expected", Assert.Single(Parse(Minutes, "--minutes", text).Errors));

    [Theory]
    [InlineData("1.5"), InlineData("1e2"), InlineData("9999999999999999999999"), InlineData("0")]
    public void A_whole_number_is_refused_otherwise(string text) =>
        Assert.Equal($"--steps is '{text}'; expected a whole number from 1 to 100",
            Assert.Single(Parse(NumberOption.Create("--steps", "The steps.", 10, 1, 100), "--steps", text).Errors));

    [Fact]
    public void Omitted_options_have_their_default_or_none()
    {
        Assert.Equal(2.5, Parse(Minutes).Value);
        Assert.Null(Parse(NumberOption.Optional<long>("--seed", "The seed.", 0, 10)).Value);
        Assert.Equal(7, Parse(NumberOption.Optional<long>("--seed", "The seed.", 0, 10), "--seed", "7").Value);
    }
}
