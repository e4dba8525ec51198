namespace HybridArchitectures.Cost;

/// <summary>
/// Contains the bytes that exist during a backward pass with activation checkpointing, if the last blocks save their activations all the same. Their
/// activations are there at the start of the pass, when the gradients of the blocks do not exist yet.
/// </summary>
/// <param name="Input">The bytes of the input of a block.</param>
/// <param name="Again">The bytes that each block saves while its gradients are computed, if it is computed again.</param>
/// <param name="Saved">The bytes that each block saves otherwise.</param>
/// <param name="Gradients">The bytes of the gradients of each block.</param>
/// <param name="Loss">The bytes that only the loss needs, between the forward and the backward pass.</param>
sealed record CheckpointMemory(double Input, double[] Again, double[] Saved, double[] Gradients, double Loss)
{
    /// <summary>
    /// Returns the maximum over the pass of what blocks save and of the gradients of blocks. If <paramref name="summed"/>, gradients exist from the
    /// start, because they are added to those of an earlier pass.
    /// </summary>
    /// <param name="saving">The number of last blocks that save their activations.</param>
    /// <param name="summed">Whether gradients exist from the start.</param>
    public double Peak(int saving, bool summed)
    {
        int first = Again.Length - saving;
        double gradients = summed ? Gradients.Sum() : 0, held = first * Input + Saved[first..].Sum();
        double most = saving > 0 ? held + Loss + gradients : 0;
        for (int block = Again.Length - 1; block >= 0; block--)
        {
            most = Math.Max(most, gradients + (block >= first ? held : block * Input + Again[block]));
            if (block >= first) held -= Saved[block];
            if (!summed) gradients += Gradients[block];
        }
        return most;
    }

    /// <summary>Returns the maximum number of last blocks that can save their activations without a higher peak.</summary>
    public int MaxSaving(bool summed)
    {
        double limit = Peak(0, summed);
        int saving = 0;
        while (saving < Again.Length && Peak(saving + 1, summed) <= limit) saving++;
        return saving;
    }
}
