using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>Checks arguments of modules. The message of an exception contains the argument, its value and what was expected.</summary>
static class ModuleChecks
{
    /// <summary>Throws an exception for a missing factory or spec, and for a spec that does not fit the width of the input.</summary>
    public static void Spec(ModuleFactory factory, MixerSpec spec, int? inputWidth = null)
    {
        ArgumentNullException.ThrowIfNull(factory);
        ArgumentNullException.ThrowIfNull(spec);
        spec.Check(inputWidth ?? factory.Width);
    }

    /// <inheritdoc cref="Spec(ModuleFactory, MixerSpec, int?)"/>
    public static void Spec(ModuleFactory factory, FeedForwardSpec spec)
    {
        ArgumentNullException.ThrowIfNull(factory);
        ArgumentNullException.ThrowIfNull(spec);
        spec.Check(factory.Width);
    }

    /// <summary>
    /// Throws an exception for activations other than (batch, length, width), and begins the pass of the context if it has not begun.
    /// </summary>
    public static void Input(Tensor x, int width, SequenceContext context)
    {
        Checks.Shape(x, [-1, -1, width], "(batch, length, width)");
        Checks.Floating(x);
        ArgumentNullException.ThrowIfNull(context);
        context.BeginFor(x);
    }

    /// <summary>Returns the state of a mixer in its type. Throws an exception for the state of another kind of mixer.</summary>
    public static TState? State<TState>(MixerState? state, string mixer) where TState : MixerState => state switch
    {
        null => null,
        TState own => own,
        _ => throw ForeignState(state, mixer),
    };

    /// <summary>Returns the exception for the state of another kind of mixer.</summary>
    public static ArgumentException ForeignState(MixerState state, string mixer) =>
        Require.Unfit(nameof(state), $"state is a {state.GetType().Name}", $"the state of {mixer}");

    /// <summary>Throws an exception for types that weights cannot have.</summary>
    public static void WeightType(ScalarType weightType)
    {
        if (weightType is not (ScalarType.Float32 or ScalarType.BFloat16))
            throw Require.Refusal(nameof(weightType), weightType, "Float32 or BFloat16");
    }
}
