using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text.Json.Serialization;

namespace HybridArchitectures.Kernels;

/// <summary>
/// Describes how rotary frequencies are changed for contexts longer than in the first training. Each kind has a type, with the name of its
/// <c>rope_type</c> in Hugging Face configurations as its JSON kind.
/// </summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "kind")]
[JsonDerivedType(typeof(Llama3RotaryScaling), "llama3")]
[JsonDerivedType(typeof(LinearRotaryScaling), "linear")]
[JsonDerivedType(typeof(DynamicRotaryScaling), "dynamic")]
[JsonDerivedType(typeof(YarnRotaryScaling), "yarn")]
[JsonDerivedType(typeof(LongRotaryScaling), "longrope")]
[JsonDerivedType(typeof(ProportionalRotaryScaling), "proportional")]
public abstract record RotaryScaling
{
    private protected RotaryScaling() { }

    /// <summary>
    /// Gets the multiplier of cosines and sines. Products of a query and a key are multiplied by its square. The value is 1 for kinds without it.
    /// </summary>
    [JsonIgnore]
    public virtual double Amplitude => 1;

    /// <summary>Gets whether the frequencies depend on the number of tokens of the longest row.</summary>
    [JsonIgnore]
    public virtual bool DependsOnLength => false;

    /// <summary>Changes the frequencies theta^(-2j/R), in radians per token, in place.</summary>
    /// <param name="frequencies">The frequencies, R/2 rounded up.</param>
    /// <param name="rotaryDimensions">R, the number of rotated channels.</param>
    /// <param name="theta">The base.</param>
    /// <param name="length">The number of tokens of the longest row.</param>
    internal abstract void Apply(Span<double> frequencies, int rotaryDimensions, double theta, long length);

    /// <summary>Checks the numbers. The message names the property.</summary>
    internal abstract void Check(string name, int rotaryDimensions);

    private protected static void Expect(
        bool holds, string name, object? value, string expected, [CallerArgumentExpression(nameof(value))] string? property = null)
    {
        if (holds) return;
        string shown = value is IFormattable number ? number.ToString(null, CultureInfo.InvariantCulture) : value?.ToString() ?? "null";
        // named as in JSON
        throw Require.Unfit(name, $"{name}.{char.ToLowerInvariant(property![0])}{property[1..]} is {shown}", $"{expected}");
    }

    private protected static void CheckFactor(double factor, string name) =>
        Expect(double.IsFinite(factor) && factor >= 1, name, factor, "a finite number of at least 1", "factor");

    private protected static void CheckLength(int originalContextLength, string name) =>
        Expect(originalContextLength >= 1, name, originalContextLength, "at least 1 token", "originalContextLength");

    private protected static void CheckAmplitude(double? amplitude, string name)
    {
        if (amplitude is { } value) Expect(double.IsFinite(value) && value > 0, name, value, "a finite number above 0", "attentionFactor");
    }
}
