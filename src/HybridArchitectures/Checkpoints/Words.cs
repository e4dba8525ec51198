using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>Words of Hugging Face configurations, old and new.</summary>
static class Words
{
    static readonly (string Word, Activation Value)[] activations =
    [
        ("silu", Design.Activation.Silu), ("swish", Design.Activation.Silu), ("relu", Design.Activation.Relu), ("relu2", Design.Activation.ReluSquared),
        ("gelu", Design.Activation.Gelu), ("gelu_pytorch_tanh", Design.Activation.GeluTanh), ("gelu_new", Design.Activation.GeluTanh), ("gelu_fast", Design.Activation.GeluTanh), ("gelu_python", Design.Activation.Gelu),
    ];

    public static string Activations => string.Join(", ", activations.Select(item => item.Word));

    public static Activation? Activation(string word)
    {
        foreach (var item in activations)
            if (item.Word == word) return item.Value;
        return null;
    }

    public static string Of(Activation value) => activations.First(item => item.Value == value).Word;

    /// <summary>Whether a layer-type word stands for attention (true) or a state-space layer (false); null for neither.</summary>
    public static bool? IsAttention(string word) => word switch
    {
        "attention" or "full_attention" => true,
        "mamba" or "linear_attention" => false,
        _ => null,
    };
}
