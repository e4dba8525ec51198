namespace HybridArchitectures.Adapters;

/// <summary>
/// A linear layer of a Hugging Face model that PEFT can adapt, and the weights of this library that it holds, one after another along its outputs.
/// </summary>
/// <param name="Name">Its name, such as <c>model.layers.0.self_attn.q_proj</c>.</param>
/// <param name="Parts">The weights.</param>
sealed record PeftModule(string Name, IReadOnlyList<PeftPart> Parts)
{
    const string Prefix = "base_model.model.";

    /// <summary>The name of the matrix from the inputs to the rank, (rank, inputs).</summary>
    public string Down => $"{Prefix}{Name}.lora_A.weight";

    /// <summary>The name of the matrix from the rank to the outputs, (outputs, rank).</summary>
    public string Up => $"{Prefix}{Name}.lora_B.weight";

    public long Inputs => Parts[0].Site.Weight.size(-1);

    public long Outputs => Parts.Sum(part => part.Outputs);

    /// <summary>The module that a tensor's name speaks of, and whether it is <see cref="Down"/>; null for other names.</summary>
    public static (string Module, bool IsDown)? Parse(string tensor)
    {
        if (!tensor.StartsWith(Prefix, StringComparison.Ordinal)) return null;
        foreach (var (end, down) in new[] { (".lora_A.weight", true), (".lora_B.weight", false) })
        {
            if (tensor.EndsWith(end, StringComparison.Ordinal) && tensor.Length > Prefix.Length + end.Length)
                return (tensor[Prefix.Length..^end.Length], down);
        }
        return null;
    }
}
