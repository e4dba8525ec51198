using HybridArchitectures.Kernels.Cpu;
using HybridArchitectures.Kernels.Cuda;
using HybridArchitectures.Kernels.Reference;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Operators;

/// <summary>
/// Implements rotary position embeddings (arXiv 2104.09864) in the half-split layout of Llama: x[j] and x[j + R/2] are rotated as a pair, by the
/// position times the frequency of the pair.
/// </summary>
public static class Rotary
{
    static KernelBackend Backend => OperatorOptions.BackendOf(static options => options.RotaryBackend);

    /// <summary>Returns the back end that serves activations like <paramref name="x"/>.</summary>
    public static KernelBackend BackendFor(Tensor x) => SequenceChecks.Choose(Backend, x, nameof(Rotary));

    /// <summary>Returns the frequencies theta^(-2j/R) in radians per token, shape (R/2 rounded up), float32, computed in double precision.</summary>
    /// <param name="rotaryDimensions">
    /// R, the number of channels per head that are rotated, at least 1. If it is odd, one more channel is rotated, as in Hugging Face Transformers.
    /// </param>
    /// <param name="theta">The base, for example 500000, above 0.</param>
    /// <param name="scaling">The scaling for long contexts. The default, null, means none.</param>
    /// <param name="device">The device of the result. The default, null, means the CPU.</param>
    /// <param name="length">
    /// The number of tokens of the longest row, for scalings that depend on it (<see cref="RotaryScaling.DependsOnLength"/>). The default is 0.
    /// </param>
    /// <exception cref="ArgumentException">A number is invalid. The message names the argument.</exception>
    public static Tensor InverseFrequencies(
        int rotaryDimensions, double theta, RotaryScaling? scaling = null, Device? device = null, long length = 0)
    {
        if (rotaryDimensions < 1)
            throw Require.OutOfRange(nameof(rotaryDimensions), rotaryDimensions, "at least 1");
        Require.Positive(theta);
        Require.KnownDevice(device);
        scaling?.Check(nameof(scaling), rotaryDimensions);
        var frequencies = new double[(rotaryDimensions + 1) / 2];
        for (int j = 0; j < frequencies.Length; j++) frequencies[j] = Math.Pow(theta, -2.0 * j / rotaryDimensions);
        scaling?.Apply(frequencies, rotaryDimensions, theta, length);
        return tensor(Array.ConvertAll(frequencies, frequency => (float)frequency), ScalarType.Float32, device);
    }

    /// <summary>Returns cosine and sine of the angles of every position, computed in double precision, so that distant positions are exact.</summary>
    /// <param name="positions">
    /// The positions, shape (L) or (B, L), int64, in tokens from the start of the sequence. Values at padding do not matter.
    /// </param>
    /// <param name="inverseFrequencies">The frequencies, shape (R/2), float32, see <see cref="InverseFrequencies"/>.</param>
    /// <param name="amplitude">The multiplier of the results (<see cref="RotaryScaling.Amplitude"/>), above 0. The default is 1.</param>
    /// <returns>Both with shape (1 or B, L, R/2), float32.</returns>
    /// <exception cref="ArgumentException">A shape, dtype or device is invalid. The message names the argument.</exception>
    public static (Tensor Cosine, Tensor Sine) Table(Tensor positions, Tensor inverseFrequencies, double amplitude = 1)
    {
        Require.Positive(amplitude);
        Checks.Type(positions, ScalarType.Int64);
        if (positions.dim() is not (1 or 2))
            throw Require.Unfit(nameof(positions), $"positions has shape {Checks.Describe(positions)}", "(length) or (batch, length)");
        Checks.Type(inverseFrequencies, ScalarType.Float32);
        Checks.Shape(inverseFrequencies, [-1], "one frequency per rotated pair");
        Checks.SameDevice(positions, inverseFrequencies, nameof(inverseFrequencies));
        using var scope = NewDisposeScope();
        var rows = positions.dim() == 1 ? positions.unsqueeze(0) : positions;
        var angles = rows.to(ScalarType.Float64).unsqueeze(-1) * inverseFrequencies.to(ScalarType.Float64);     // (1 or B, L, R/2)
        Tensor Part(Tensor values) =>
            (amplitude == 1 ? values : values.mul(Scalars.From(amplitude))).to(ScalarType.Float32).MoveToOuterDisposeScope();
        return (Part(cos(angles)), Part(sin(angles)));
    }

    /// <summary>Rotates queries or keys by their positions.</summary>
    /// <param name="x">The input, shape (B, L, H, D), floating point, with D at least R. Channels after the first R do not change.</param>
    /// <param name="cosine">The cosines, shape (1 or B, L, R/2), float32, see <see cref="Table"/>. They receive no gradient.</param>
    /// <param name="sine">The sines, with the shape and dtype of <paramref name="cosine"/>.</param>
    /// <returns>The output, with the shape and dtype of <paramref name="x"/>.</returns>
    /// <exception cref="ArgumentException">A shape, dtype or device is invalid. The message names the argument.</exception>
    public static Tensor Forward(Tensor x, Tensor cosine, Tensor sine)
    {
        var inputs = new RotaryInputs(x, cosine, sine);
        inputs.Check();
        var backend = BackendFor(x);
        if (backend == KernelBackend.Reference) return RotaryReference.Forward(x, cosine, sine);
        return Autograd.Apply<Saved>([x], _ => ([Rotate(inputs, backend, reverse: false)], new Saved(cosine, sine, backend)),
            static (context, saved) => [Rotate(new(context.Gradients[0]!, saved.Cosine, saved.Sine), saved.Backend, reverse: true)])[0];
    }

    static Tensor Rotate(RotaryInputs inputs, KernelBackend backend, bool reverse) =>
        backend == KernelBackend.Cuda ? RotaryCuda.Rotate(inputs, reverse) : RotaryKernel.Rotate(inputs, reverse);

    sealed record Saved(Tensor Cosine, Tensor Sine, KernelBackend Backend) : ISavedTensors<Saved>
    {
        public Saved Map(Func<Tensor?, Tensor?> replace) => new(replace(Cosine)!, replace(Sine)!, Backend);
    }
}
